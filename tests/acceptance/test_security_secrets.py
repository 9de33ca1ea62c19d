"""No secret of an operator is in a log, an error, a health answer, a list of processes, or a file.

In each case a backend refuses, is unavailable, or has an invalid address. The secret is in the address or in
the environment.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from urllib.parse import quote, urlsplit

import httpx
import pytest

from playhead.backends._postgres.address import taken_apart
from playhead.backends.broker_nats.address import parse as parse_nats
from playhead.backends.broker_rabbitmq.address import parse as parse_rabbitmq
from tests.acceptance.processes import Deployment, open_deployment
from tests.servers import need, need_fresh

SECRET = "s3cret/ü+%"  # an address has it quoted, and an error could have either form
QUOTED = quote(SECRET, safe="")
PLAIN = "plains3cret"
NOWHERE = "127.0.0.1:1"

Settings = dict[str, str]


def _at(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _postgres() -> Settings:
    return {"PLAYHEAD_CATALOG": f"postgresql://unknown:{QUOTED}@{_at(need('postgres'))}/postgres"}


def _postgres_broker() -> Settings:
    return {
        "PLAYHEAD_BROKER": f"postgresql://{_at(need('postgres'))}/postgres?user=unknown&password={QUOTED}"
    }


def _rabbitmq() -> Settings:
    return {"PLAYHEAD_BROKER": f"amqp://u:{QUOTED}@{_at(need('rabbitmq'))}/"}


def _s3() -> Settings:
    return {
        "PLAYHEAD_STORE": need("s3"),
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": SECRET.encode("ascii", "ignore").decode() + PLAIN,
        "AWS_SESSION_TOKEN": PLAIN,
    }


def _said(**settings: str) -> Callable[[], Settings]:
    return lambda: {f"PLAYHEAD_{name}": value for name, value in settings.items()}


CASES: dict[str, Callable[[], Settings]] = {
    "PostgreSQL refuses": _postgres,
    "PostgreSQL refuses the broker": _postgres_broker,
    "PostgreSQL is unavailable": _said(CATALOG=f"postgresql://u:{QUOTED}@{NOWHERE}/db?nosuch={PLAIN}"),
    "PostgreSQL can't be read": _said(CATALOG=f"postgresql://u:{PLAIN}/x?y#z@{NOWHERE}/db"),
    "RabbitMQ refuses": _rabbitmq,
    "RabbitMQ is unavailable": _said(BROKER=f"amqp://u:{QUOTED}@{NOWHERE}/vhost"),
    "RabbitMQ can't be read": _said(BROKER=f"amqp://u:{PLAIN}@host:port/?password={PLAIN}"),
    "NATS is unavailable": _said(BROKER=f"nats://{QUOTED}@{NOWHERE}"),
    "NATS can't be read": _said(BROKER=f"nats://u:{PLAIN} {PLAIN}/@{NOWHERE}"),
    "S3 refuses": _s3,
    "S3 takes no such options": _said(STORE=f"s3://bucket/x?secret_access_key={PLAIN}"),
    "S3 takes no user": _said(STORE=f"s3://{PLAIN}:{PLAIN}@bucket/x?endpoint=http://u:{PLAIN}@{NOWHERE}"),
    "there is no such backend": _said(CATALOG=f"mysql://u:{QUOTED}@host/db?password={PLAIN}"),
}

#: An error of each server, and of an address; the other cases are like one of these.
FAST = {
    "PostgreSQL refuses",
    "RabbitMQ refuses",
    "NATS is unavailable",
    "S3 refuses",
    "PostgreSQL can't be read",
}


def find_no_secret(what: str, text: str | bytes) -> None:
    raw = text.encode() if isinstance(text, str) else text
    for secret in (SECRET, QUOTED, PLAIN, SECRET.encode().decode("latin-1")):
        assert secret.encode() not in raw, f"a secret is in {what}"


def _search_all(deployment: Deployment) -> None:
    """Look through what a server says while it runs, where it does, and through what it leaves."""
    server = deployment.start("serve", "--port", "0", "--workers", "1")
    # A server without its catalog exits; without another backend it serves.
    deployment.until(lambda: "listening on " in server.said or server.code is not None, "the server")
    if server.code is None:
        url = server.said.split("listening on ")[1].split()[0]
        for path in ("api/v1/system/health", "readyz", "metrics", "api/v1/routes"):
            find_no_secret(path, httpx.get(f"{url}/{path}", timeout=60, trust_env=False).text)
        examined = httpx.post(f"{url}/api/v1/system/doctor", timeout=60, trust_env=False)
        find_no_secret("an examination", examined.text)
        told = subprocess.run(
            ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
        ).stdout
        # The arguments of the server are known, so look at those of the processes that it starts.
        own = [line for line in told.splitlines() if str(server.popen.pid) in line.split()[1:2]]
        assert own
        find_no_secret("the list of processes", "\n".join(own))
        server.stop()
    for file in deployment.folder.rglob("*"):
        if file.is_file():
            find_no_secret(str(file.relative_to(deployment.folder)), file.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in FAST else pytest.mark.full) for case in CASES]
)
def test_errors_of_a_backend_contain_no_secret(case: str):
    settings = CASES[case]()
    with open_deployment(LOG_LEVEL="debug") as deployment:
        deployment.environment = {**deployment.environment, **settings}
        commands = (["doctor"], ["executions"], ["migrate", "--check"])
        for ran in [deployment.start(*words, "--json", stdout=subprocess.PIPE) for words in commands]:
            out, _ = ran.popen.communicate(timeout=120)
            find_no_secret(f"the output of {ran.name}", out)
            find_no_secret(f"the errors of {ran.name}", ran.said)
        _search_all(deployment)


@pytest.mark.slow
@pytest.mark.parametrize("login", [f"u:{QUOTED}", QUOTED], ids=["password", "token"])
def test_a_nats_that_refuses_tells_no_secret(login: str):
    with (
        need_fresh("nats", "--user", "u", "--pass", "another") as nats,
        open_deployment(LOG_LEVEL="debug") as deployment,
    ):
        url = f"nats://{login}@{_at(nats.url)}"
        deployment.environment = {**deployment.environment, "PLAYHEAD_BROKER": url}
        doctor = deployment.start("doctor", "--json", stdout=subprocess.PIPE)
        out, _ = doctor.popen.communicate(timeout=120)
        assert b"password" in out  # it says what to check
        find_no_secret("playhead doctor", out + doctor.said.encode())
        _search_all(deployment)


@pytest.mark.slow
def test_the_error_for_an_unreachable_server_contains_no_secret():
    for address in (f"http://u:{QUOTED}@{NOWHERE}", f"http://u:{PLAIN}/x@{NOWHERE}", f"ftp://{PLAIN}@host"):
        with open_deployment() as deployment:
            deployment.environment = {**deployment.environment, "PLAYHEAD_SERVER": address}
            ran = deployment.start("executions", "--json", stdout=subprocess.PIPE)
            out, _ = ran.popen.communicate(timeout=60)
            assert ran.code
            find_no_secret("playhead executions", out + ran.said.encode())


def test_no_address_says_its_password_when_it_is_printed():
    for address in (
        taken_apart(f"postgresql://u:{QUOTED}@host/db?password={PLAIN}"),
        parse_nats(f"nats://u:{QUOTED}@host"),
        parse_nats(f"nats://{QUOTED}@host"),
        parse_rabbitmq(f"amqp://u:{QUOTED}@host/vhost"),
    ):
        for text in (repr(address), str(address), f"{address}"):
            find_no_secret("its repr", text)
