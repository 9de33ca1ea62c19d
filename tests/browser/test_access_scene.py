"""A closed deployment as in production: two servers behind nginx, and a worker with rights of its own.

The catalog is PostgreSQL, the broker is NATS, and people log in at a provider. The rules are tested one by
one elsewhere (`tests/api/test_access_matrix.py`, `test_login_in_browser.py`, `test_least_rights.py`).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest

from playhead.ids import uuid7
from playhead.ports.diagnosis import PROCESS_ROLES
from tests.acceptance.brokers import query
from tests.acceptance.processes import (
    SETTINGS,
    STEADY,
    Deployment,
    deployment_folder,
    outside,
    variables,
)
from tests.browser.chromium import PATIENCE_MS, expect
from tests.deploy.checks import program
from tests.deploy.proxies import nginx_config
from tests.servers import Missing, absent, need, need_fresh
from tests.servers.oidc import CLIENT_ID, CLIENT_SECRET
from tests.servers.process import Server, greeting
from tests.servers.roles import as_role
from tests.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

DOCS: Final = """
version: "1.0"
name: docs
entry: copy
routes:
  copy:
    adapters: [{type: passthrough}]
    outbound: {stage: copies, to: [again]}
  again:
    adapters: [{type: passthrough}]
    outbound: {stage: twice}
datasets: {docs: {}}
"""
_SQL: Final = ThreadPoolExecutor(1)
"""The event loop of Playwright is that of the thread of the tests."""


def sql(url: str, statement: str, *values: object) -> list[Any]:
    return _SQL.submit(query, url, statement, *values).result()


class Nginx(Server):
    """Sends requests to two servers in turn, and names the one that has answered.

    A login begins at the first server and ends at the second one.

    Attributes:
        servers: their addresses, `HOST:PORT`.
    """

    name: ClassVar[str] = "nginx"

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        self._program = program("nginx", "nginx-light")
        first, second = self.servers
        self._config = nginx_config(
            self.folder,
            f"upstream playhead {{ server {first}; server {second}; }}\n"
            f"map $uri $there {{ default playhead; /login/oidc {first}; /login/oidc/callback {second}; }}\n"
            f"server {{ listen 127.0.0.1:{self.port}; location / {{\n"
            "proxy_pass http://$there; proxy_set_header Host $http_host;\n"
            "proxy_set_header Connection close; add_header X-Server $upstream_addr always;\n}}\n",
        )

    def command(self) -> list[str]:
        return [self._program, "-e", "stderr", "-c", str(self._config)]

    def answers(self) -> bool:
        head = f"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1:{self.port}\r\n\r\n"
        return b" 200 " in greeting(self.port, head.encode())


@dataclass
class Scene(Deployment):
    """The deployment.

    Attributes:
        origin: address of nginx.
        servers: addresses of the servers behind it, `HOST:PORT`.
        issuer: address of the provider.
        addresses: URL of the catalog of the owner, and of each role.
        root: key of an administrator.
        execution: a run that has ended.
    """

    origin: str = field(kw_only=True)
    issuer: str = field(kw_only=True)
    addresses: Mapping[str, str] = field(kw_only=True)
    servers: list[str] = field(default_factory=list)
    root: str = ""
    execution: str = ""

    def own(self, process: str) -> Mapping[str, str]:
        role = {"serve": "server", "worker": "worker"}.get(process.partition("-")[2], "owner")
        return {"CATALOG": self.addresses[role]}

    def ask(self, method: str, path: str, key: str | None = None, **request: Any) -> httpx.Response:
        """Send a request to `/api/v1/PATH` through nginx, with a key."""
        headers = {"Authorization": f"Bearer {key or self.root}", **request.pop("headers", {})}
        return httpx.request(
            method, f"{self.origin}/api/v1/{path}", headers=headers, timeout=60, trust_env=False, **request
        )

    def beats(self) -> list[float]:
        """Return the time of the newest heartbeat of each server."""
        rows = sql(
            self.addresses["owner"], "SELECT heartbeat_at FROM processes WHERE kind = 'serve' ORDER BY id"
        )
        return [row["heartbeat_at"] for row in rows]

    def wait_for_a_beat(self) -> None:
        """Wait until each server has sent a heartbeat, and has read which keys have ended.

        It sends a heartbeat first, and reads them then. So the next heartbeat shows that it has read them.
        """

        def is_later(before: list[float]) -> bool:
            return all(new > old for new, old in zip(self.beats(), before, strict=True))

        for _ in range(2):
            eventually(partial(is_later, self.beats()), "a heartbeat of each server")

    def found(self, path: str) -> Any:
        return self.ask("GET", path).raise_for_status().json()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        nginx = stack.enter_context(_removed(Nginx()))
        provider = stack.enter_context(need_fresh("oidc", f"{nginx.url}/login/oidc/callback"))
        postgres, name = need("postgres"), f"s{uuid7().hex}"
        roles = {role: f"{role[0]}{uuid7().hex}" for role in PROCESS_ROLES}
        for statement in (f"CREATE SCHEMA {name}", *(f"CREATE ROLE {one} LOGIN" for one in roles.values())):
            sql(postgres, statement)
        stack.callback(_drop, postgres, name, roles.values())
        owner = f"{postgres}?search_path={name}"
        folder = stack.enter_context(deployment_folder())
        given = {
            **SETTINGS,
            **STEADY,
            "HOME": str(folder / "home"),
            "BROKER": need("nats"),
            "QUEUE_PREFIX": name,
            "PUBLIC_URL": nginx.url,
            "OIDC_ISSUER": provider.url,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_MAP": "playhead-admins=admin",
        }
        made = Scene(
            folder,
            outside() | variables(given),
            origin=nginx.url,
            issuer=provider.url,
            addresses={"owner": owner, **{role: as_role(owner, one) for role, one in roles.items()}},
        )
        stack.callback(made.close)
        granted = ",".join(f"{role}={one}" for role, one in roles.items())
        made.cli("migrate", "--grants", granted, "--execute")
        made.root = made.cli("keys", "create", "root", "--role", "admin")["key"]
        nginx.servers = made.servers = [made.serve().url.removeprefix("http://") for _ in range(2)]
        made.worker()
        try:
            nginx.start()
        except Missing as missing:
            absent(missing)
        made.ask("POST", "configs", content=DOCS, headers={"Content-Type": "application/yaml"})
        files = [("files", (f"{n}.txt", b"text")) for n in range(3)]
        made.execution = made.ask("POST", "configs/docs/run", files=files).json()["execution_id"]
        ended = f"executions/{made.execution}"
        eventually(lambda: made.found(ended)["status"] == "completed", "the run to end")
        yield made


def _drop(postgres: str, schema: str, roles: Iterable[str]) -> None:
    sql(postgres, f"DROP SCHEMA {schema} CASCADE")
    for one in roles:
        sql(postgres, f"DROP OWNED BY {one}")
        sql(postgres, f"DROP ROLE {one}")


@contextmanager
def _removed(server: Nginx) -> Iterator[Nginx]:
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a new profile of the browser."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def log_in(page: Page, scene: Scene, path: str) -> None:
    """Open a page, and log in at the provider as Alice, who is an administrator."""
    page.goto(scene.origin + path)
    page.get_by_role("link", name="Log in at the provider").click()
    page.locator("input[name=login]").fill("alice")
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()
    page.get_by_role("button", name="Continue").click()
    page.locator("header.bar").wait_for()


def test_a_person_logs_in_and_starts_a_replay_which_has_this_name(scene: Scene, page: Page):
    form = f"/replay?from_execution_id={scene.execution}&from_stage=copies&to_route=docs/again&count=1"
    at: dict[str, str] = {}
    page.on("response", lambda one: at.update({urlsplit(one.url).path: one.headers.get("x-server", "")}))
    log_in(page, scene, form)
    assert [at["/login/oidc"], at["/login/oidc/callback"]] == scene.servers
    assert page.url == scene.origin + form
    page.get_by_label("Reason").fill("the fix of Monday")
    # The provider has sent the browser here, and a page of another site counts nothing.
    page.get_by_role("button", name="Count").first.click()
    page.locator("#replay-button:enabled").click()
    page.wait_for_url("**/replays/*")

    [replay] = scene.found(f"replays?from_execution_id={scene.execution}")["items"]
    ended = f"executions/{replay['execution_id']}"
    eventually(lambda: scene.found(ended)["status"] == "completed", "the replay to end")
    assert (replay["requested_by"]["kind"], replay["requested_by"]["name"]) == ("oidc", "alice@example.com")
    expect(page.locator("main")).to_contain_text("alice@example.com")
    page.goto(f"{scene.origin}/audit?action=replay.start")
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("alice@example.com")
    expect(row).to_contain_text("the fix of Monday")


class Sent(NamedTuple):
    """The answer to a request of the load."""

    number: int
    kind: str
    server: str
    status: int


def test_keys_revoked_during_a_load_change_and_read_nothing_on_either_server(scene: Scene):
    # Two keys, because a change reads its key from the catalog, and reads of that key use the result.
    rights = {"change": ("--scope", "apply", "--scope", "operate"), "read": ("--scope", "read")}
    keys = {kind: scene.cli("keys", "create", kind, *scopes)["key"] for kind, scopes in rights.items()}
    answers: list[Sent] = []
    numbers, ended = itertools.count(1), threading.Event()
    streams: dict[str, list[str]] = {server: [] for server in scene.servers}

    def load(kind: str) -> None:
        while not ended.is_set():
            number = next(numbers)
            if kind == "read":
                answer = scene.ask("GET", "executions", keys[kind])
            else:
                answer = scene.ask("POST", f"executions/{scene.execution}/pin", keys[kind])
            answers.append(Sent(number, kind, answer.headers["X-Server"], answer.status_code))

    def watch(server: str) -> None:
        with httpx.stream(
            "GET",
            f"http://{server}/api/v1/datasets/docs/events",
            headers={"Authorization": f"Bearer {keys['read']}"},
            timeout=60,
            trust_env=False,
        ) as stream:
            streams[server].extend(line for line in stream.iter_lines() if line.startswith("event:"))
            streams[server].append("closed")

    def answered(kind: str, status: int, after: int = 0) -> set[str]:
        """Return the servers that have answered so to a request that was sent later."""
        return {
            one.server for one in answers if one.kind == kind and one.status == status and one.number > after
        }

    def both(kind: str, status: int, after: int = 0) -> bool:
        return len(answered(kind, status, after=after)) == 2

    threads = [threading.Thread(target=load, args=(kind,)) for kind in ("read", "change") * 2]
    # A stream that is never closed must not keep the test from failing.
    watching = [threading.Thread(target=watch, args=(server,), daemon=True) for server in scene.servers]
    for thread in (*threads, *watching):
        thread.start()
    try:
        for kind in keys:
            eventually(partial(both, kind, 200), f"each server to answer to a {kind}")
        eventually(lambda: all(streams.values()), "both streams to begin")
        assert scene.ask("POST", "keys/change/revoke").status_code == 200
        revoked = next(numbers)
        assert scene.ask("POST", "keys/read/revoke").status_code == 200
        scene.wait_for_a_beat()
        reads_end = next(numbers)
        eventually(lambda: all(one[-1:] == ["closed"] for one in streams.values()), "the streams to end")
        eventually(partial(both, "change", 401, after=reads_end), "the changes to go on")
        eventually(partial(both, "read", 401, after=reads_end), "the reads to go on")
    finally:
        ended.set()
        for thread in threads:
            thread.join()

    assert answered("change", 200, after=revoked) == set()
    assert answered("read", 200, after=reads_end) == set()
    assert {one.status for one in answers} == {200, 401}
    for lines in streams.values():
        assert lines[0] == "event: dataset"
        assert "event: end" not in lines


@contextmanager
def other_site(host: str, html: str) -> Iterator[str]:
    """Yield the address of a page on another port of this machine."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_address[1]}/"
        server.shutdown()


# To the browser, another port of 127.0.0.1 is the same site, so it sends the cookie there.
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_changes_nothing_with_the_session_of_a_person(
    scene: Scene, page: Page, host: str
):
    log_in(page, scene, "/configs")
    before = scene.found("configs/docs")
    form = f"<form id=f method=post action='{scene.origin}/configs/docs/deactivate'><button>x</button></form>"
    with other_site(host, form) as address:
        page.goto(address)
        send = "fetch(url, {method: 'POST', credentials: 'include', mode: 'no-cors'})"
        page.evaluate(f"url => {send}.catch(() => 0)", f"{scene.origin}/api/v1/configs/docs/deactivate")
        page.locator("#f button").click()
        page.wait_for_url(f"{scene.origin}/**")
        expect(page.get_by_text("cross_origin")).to_be_visible()
    assert scene.found("configs/docs") == before


def test_a_stolen_cookie_needs_an_origin_to_change_and_ends_with_its_session(scene: Scene, page: Page):
    log_in(page, scene, "/configs")
    [cookie] = [one for one in page.context.cookies(scene.origin) if "playhead" in one["name"]]
    pin = f"{scene.origin}/api/v1/executions/{scene.execution}/unpin"
    with httpx.Client(cookies={cookie["name"]: cookie["value"]}, trust_env=False, timeout=60) as thief:
        for headers in ({}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
            answer = thief.post(pin, headers=headers)
            assert (answer.status_code, answer.json()["error_code"]) == (403, "cross_origin")
        # Who has the cookie can send any header: until the session ends, it is this person.
        assert thief.get(f"{scene.origin}/api/v1/executions").status_code == 200
        assert thief.post(pin, headers={"Origin": scene.origin}).status_code == 200

        for session in [one["id"] for one in scene.found("sessions")["items"]]:
            scene.ask("POST", f"sessions/{session}/revoke").raise_for_status()
        assert thief.post(pin, headers={"Origin": scene.origin}).status_code == 401
        eventually(lambda: thief.get(f"{scene.origin}/api/v1/executions").status_code == 401, "reads to end")


def test_each_process_uses_the_role_of_its_kind(scene: Scene):
    owner = scene.addresses["owner"]
    rows = sql(owner, "SELECT kind, by_role FROM processes")
    used = {(row["kind"], as_role(owner, row["by_role"])) for row in rows}
    assert used == {("serve", scene.addresses["server"]), ("worker", scene.addresses["worker"])}


@pytest.mark.parametrize(
    "statement",
    [
        *(f"SELECT * FROM {table}" for table in ("keys", "sessions", "audit")),
        "DELETE FROM audit",
        "UPDATE audit SET actor = 'root'",
        "INSERT INTO configs SELECT * FROM configs",
    ],
)
def test_a_worker_reads_no_keys_and_changes_no_entry_of_the_audit_and_no_config(scene: Scene, statement: str):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        sql(scene.addresses["worker"], statement)
