"""No key and no cookie is in a log, an error, a metric, a trace, a process list, a page or the catalog."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from playhead.bootstrap import open_runtime
from playhead.model.access import Caller, KeyRequest
from playhead.settings import Settings
from tests import program
from tests.acceptance.collector import open_collector
from tests.acceptance.processes import DEADLINE_SECONDS, Deployment, open_deployment
from tests.acceptance.test_key_servers import CONFIG
from tests.servers import need
from tests.servers.postgres import binaries
from tests.servers.schema import schema

pytestmark = pytest.mark.slow

PLACES = ("log", "errors", "command", "metrics", "traces", "processes", "pages", "audit", "files")
_SECRET = 38
"""Characters of a key after its public id: the secret and the checksum."""


class Used(NamedTuple):
    """Secrets that were used, and what each place shows. Each place has something."""

    secrets: list[str]
    found: dict[str, str]


def _processes() -> str:
    """Return the command lines of all processes."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(lines)


def _files(folder: Path) -> str:
    """Return what the catalog and the other files of a deployment contain."""
    return "\n".join(
        file.read_bytes().decode("latin-1") for file in sorted(folder.rglob("*")) if file.is_file()
    )


@pytest.fixture(scope="module")
def used() -> Iterator[Used]:
    with open_collector() as collector, open_deployment(LOG_LEVEL="debug") as deployment:
        deployment.environment = {**deployment.environment, **collector.settings}
        server = deployment.serve()
        key, other = (
            str(deployment.cli("keys", "create", name, "--role", role)["key"])
            for name, role in (("root", "admin"), ("ci", "ci"))
        )
        deployment.until(lambda: _status(deployment) == 401, "the server to require a key")
        found = dict.fromkeys(PLACES, "")
        with httpx.Client(base_url=deployment.url, timeout=DEADLINE_SECONDS, trust_env=False) as http:
            cookie = _use(http, key, other, found)
        found["command"], found["processes"] = _command(deployment, key, other)
        deployment.until(lambda: collector.named("POST /api/v1/configs") or collector.spans, "a span")
        found["traces"] = "\n".join(map(str, collector.spans))
        assert server.stop() == 0
        found["log"] = server.said
        found["files"] = _files(deployment.home)
        yield Used([key, other, cookie], found)


def _status(deployment: Deployment) -> int:
    return httpx.get(f"{deployment.url}/api/v1/executions", trust_env=False).status_code


def _use(http: httpx.Client, key: str, other: str, found: dict[str, str]) -> str:
    """Use keys in all ways, also in wrong ones. Returns the cookie of a session."""
    root = {"Authorization": f"Bearer {key}"}
    as_yaml = {**root, "Content-Type": "application/yaml"}
    http.post("/api/v1/configs", content=CONFIG, headers=as_yaml).raise_for_status()
    wrong = [
        http.get("/api/v1/executions", headers={"X-Playhead-Key": key[:-1]}),
        http.get("/api/v1/executions", headers={"Authorization": f"Bearer {key} {other}"}),
        http.get("/api/v1/executions", headers={**root, "X-Playhead-Key": other}),
        http.get(f"/api/v1/executions?key={key}", headers=root),
        http.get(f"/api/v1/executions/{key}", headers=root),
        http.post("/api/v1/configs/docs/activate", headers={"Authorization": f"Bearer {other}"}),
        http.post("/api/v1/keys", headers=root, json={"name": "two words", "scopes": ["run"]}),
        http.post("/api/v1/keys", headers=root, json={"name": "root", "scopes": ["run"]}),
    ]
    assert all(answer.is_error for answer in wrong), wrong
    # A client that sends its key in a URL has shown it itself: only that answer may repeat it.
    found["errors"] = "\n".join(answer.text for answer in wrong if key not in str(answer.url))
    logged_in = http.post("/login", data={"key": key}, headers={"Origin": str(http.base_url).rstrip("/")})
    cookie = str(logged_in.cookies["playhead_session"])
    pages = ("/", "/executions", "/configs/docs", "/run", "/apply", "/access", "/audit", "/system", "/help")
    shown = [http.get(page) for page in pages]  # the client sends the cookie
    assert {page.status_code for page in shown} == {200}
    found["pages"] = logged_in.text + "\n".join(page.text for page in shown)
    found["metrics"] = http.get("/metrics", headers=root).text
    found["audit"] = (
        http.get("/api/v1/audit", headers=root).text + http.get("/api/v1/keys", headers=root).text
    )
    return cookie


def _command(deployment: Deployment, key: str, other: str) -> tuple[str, str]:
    """Return what commands with a key print, and the list of processes while one of them runs."""
    (deployment.folder / "ci.key").write_text(other)
    to = ("--server", deployment.url)
    environment = {**deployment.environment, "PLAYHEAD_KEY": key}
    arguments = (
        ("keys", "list", *to),
        ("config", "deactivate", "docs", "--key-file", "ci.key", *to),
        ("whoami", "--json", *to),
        ("whoami", "--server", "http://192.0.2.1:8080"),
    )
    said = ""
    for one in arguments:
        done = program.run(one, cwd=deployment.folder, env=environment)
        said += done.stdout + done.stderr
    follower = program.start(("executions", "--follow", *to), cwd=deployment.folder, env=environment)
    processes = _processes()
    follower.kill()
    follower.wait()
    return said, processes


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_in(used: Used, place: str):
    text = used.found[place]
    assert text, "nothing was found, so nothing was examined"
    for secret in used.secrets:
        assert secret not in text
        assert secret[-_SECRET:] not in text


def test_a_page_shows_a_variable_in_place_of_the_key(used: Used):
    assert re.search(r"Authorization: Bearer \$PLAYHEAD_KEY", used.found["pages"])


async def test_a_dump_of_postgresql_has_hashes_alone(tmp_path: Path):
    async with schema() as url, open_runtime(Settings(home=tmp_path, catalog=url), kind="serve") as rt:
        access = rt.services.access
        made = [await access.create(KeyRequest(name, ["run", "read"])) for name in ("ci", "ada")]
        made.append(await access.rotate("ci", overlap=60, seconds=60))
        caller = Caller("key", made[1].record.id, "ada", frozenset({"read"}))
        token = await access.log_in(caller, old=None, address="192.0.2.1", browser="b")
        await access.revoke("ada")
        name = urlsplit(url).query.partition("search_path=")[2].partition("&")[0]
        command = (str(binaries() / "pg_dump"), "--schema", name, need("postgres"))
        dump = await asyncio.to_thread(subprocess.check_output, command, text=True)
    assert made[0].record.id in dump
    assert [one.key for one in made if one.key[-_SECRET:] in dump] == []
    assert token not in dump
