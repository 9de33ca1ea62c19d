"""Keys on real servers: the first one closes them, and a revoked one changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from playhead.credentials import new_key
from tests import program
from tests.acceptance.processes import Deployment, open_deployment
from tests.waiting import eventually

pytestmark = pytest.mark.slow

CONFIG = """
version: "1.0"
name: docs
entry: copy
routes:
  copy: {adapters: [{type: passthrough}], outbound: {stage: copies}}
"""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with open_deployment() as opened:
        yield opened


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def status(url: str, path: str, key: str | None = None) -> int:
    return httpx.get(f"{url}/api/v1/{path}", headers=headers(key) if key else {}).status_code


def created(deployment: Deployment, name: str, *rights: str) -> str:
    return str(deployment.cli("keys", "create", name, *rights)["key"])


def test_the_first_key_closes_all_servers_until_access_is_opened(deployment: Deployment):
    urls = [deployment.serve().url for _ in range(2)]
    assert [status(url, "executions") for url in urls] == [200, 200]

    key = created(deployment, "root", "--role", "admin")

    eventually(lambda: all(status(url, "executions") == 401 for url in urls), "both servers to ask for a key")
    assert [status(url, "executions", key) for url in urls] == [200, 200]
    assert httpx.get(f"{urls[0]}/healthz").status_code == 200
    assert httpx.get(f"{urls[0]}/readyz").json() == {"status": "ok"}
    assert deployment.cli("access", "open") == {"access": "open", "changed": True}
    eventually(lambda: all(status(url, "executions") == 200 for url in urls), "both servers to be open")


def test_a_revoked_key_changes_nothing_on_any_server_during_a_load(deployment: Deployment):
    urls = [deployment.serve().url for _ in range(2)]
    root = created(deployment, "root", "--role", "admin")
    key = created(deployment, "load", "--scope", "operate", "--scope", "apply")
    httpx.post(
        f"{urls[0]}/api/v1/configs",
        content=CONFIG,
        headers={**headers(key), "Content-Type": "application/yaml"},
    ).raise_for_status()
    answers: list[tuple[float, float, int]] = []
    ended = threading.Event()

    def change(url: str) -> None:
        with httpx.Client(base_url=f"{url}/api/v1/configs/docs", headers=headers(key)) as http:
            while not ended.is_set():
                for what in ("deactivate", "activate"):
                    sent = time.monotonic()
                    answers.append((sent, time.monotonic(), http.post(f"/{what}").status_code))

    load = [threading.Thread(target=change, args=(url,)) for url in urls for _ in range(2)]
    for one in load:
        one.start()
    try:
        eventually(lambda: len(answers) > 40, "the load to run")
        done = httpx.post(f"{urls[0]}/api/v1/keys/load/revoke", headers=headers(root))
        revoked = time.monotonic()
        seen = len(answers)
        eventually(lambda: len(answers) > seen + 40, "the load to go on")
    finally:
        ended.set()
        for one in load:
            one.join()

    assert done.status_code == 200
    before = {code for _, _, code in answers[: seen - len(load)]}
    after = {code for sent, _, code in answers if sent > revoked}
    assert before <= {200, 401}
    assert 200 in before
    assert after == {401}


def test_a_server_takes_the_first_key_of_a_file_once(deployment: Deployment, tmp_path: Path):
    key, other = new_key().text, new_key().text
    file = tmp_path / "first"
    file.write_text(f"{key}\n")
    url = deployment.serve(settings={"FIRST_KEY_FILE": str(file)}).url
    assert [status(url, "keys", one) for one in (None, key, other)] == [401, 200, 401]
    file.write_text(other)
    second = deployment.serve(settings={"FIRST_KEY_FILE": str(file)}).url
    assert [status(second, "keys", one) for one in (None, key, other)] == [401, 200, 401]


def test_a_server_does_not_start_with_a_file_that_has_no_key(deployment: Deployment, tmp_path: Path):
    for text, why in (("phk_x", "not a key"), (None, "cannot read")):
        file = tmp_path / "first"
        file.unlink(missing_ok=True)
        if text:
            file.write_text(text)
        server = deployment.start("serve", "--port", "0", settings={"FIRST_KEY_FILE": str(file)})
        assert server.popen.wait(60) == 2
        assert why in server.said


def test_commands_use_the_key_of_a_login_and_exit_with_6_without_one(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = deployment.serve().url
    root = created(deployment, "root", "--role", "admin")
    own: dict[str, Any] = {"XDG_CONFIG_HOME": str(tmp_path / "own")}
    deployment.environment = {**deployment.environment, **own}
    eventually(lambda: status(url, "executions") == 401, "the server to ask for a key")
    refused = deployment.cli("executions", "--server", url, code=6)
    assert refused["error_code"] == "key_missing"

    (tmp_path / "root").write_text(f"{root}\n")
    with (tmp_path / "root").open() as stdin:
        login = program.start(["login", url], cwd=deployment.folder, env=deployment.environment, stdin=stdin)
        said, warned = login.communicate(timeout=60)

    assert (login.returncode, root in said + warned) == (0, False)
    me = deployment.cli("whoami", "--server", url)
    assert (me["name"], me["kind"], me["access"]) == ("root", "key", "required")
    made = deployment.cli("keys", "create", "ci", "--role", "ci", "--server", url)
    (tmp_path / "ci").write_text(made["key"])
    ci = ("--server", url, "--key-file", str(tmp_path / "ci"))
    assert deployment.cli("executions", *ci)["items"] == []
    assert deployment.cli("config", "list", *ci, code=6)["error_code"] == "scope_missing"
    for process in deployment.processes:
        assert root not in process.said
        assert made["key"] not in process.said
    deployment.cli("logout", url)
    assert deployment.cli("whoami", "--server", url, code=6)["error_code"] == "key_missing"
