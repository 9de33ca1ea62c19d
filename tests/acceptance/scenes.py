"""A deployment in the middle of work, for something to happen to it: a run, a replay, and one that is listed.

with open_scene(urls) as scene:
    scene.begin()      # some of everything is done, and some is not
    ... something happens ...
    scene.go_on()
    scene.finish()     # lost, duplicated, uncertain and repeated messages
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]
import httpx

from playhead.ids import uuid7
from tests.acceptance.brokers import looking, plain, query
from tests.acceptance.deployments import ServerDeployment, Urls, open_server_deployment
from tests.acceptance.exactness import inputs, pipeline
from tests.acceptance.ledger import Findings, Ledger
from tests.acceptance.processes import STEPS, Process

_ADAPTERS: Final = f"{STEPS},{Path(__file__).with_name('exactness_steps.py')}"
SETTINGS: Final = {
    # What is slow for a moment on a busy machine is not dead.
    "HEARTBEAT_SECONDS": "0.5",
    "LEASE_SECONDS": "5",
    "VISIBILITY_SECONDS": "5",
    "SETTLE_SECONDS": "5",
}
WITHIN: Final = 120.0
"""Seconds within which everything ends once the servers are well again."""
_ANSWER_SECONDS: Final = 120.0
_WRITERS: Final = 16
_CUT: Final = asyncpg.InternalClientError
"""What asyncpg makes of a connection that ends between two of its steps."""

RUN, WORKED, LISTED = 90, 45, 1200
"""How many objects a run, a replay that is worked, and one that others consume have at most."""


_LISTING: Final = (
    f"SELECT 1 FROM jobs WHERE state = 'publishing' AND path = 'many' AND ordinals BETWEEN 1 AND {LISTED - 1}"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a client. `status` 0: the connection was lost."""

    status: int
    body: Any
    seconds: float

    @property
    def code(self) -> str:
        """Its error code; empty for none."""
        return str(self.body.get("error_code", "")) if self.status >= 400 else ""

    @property
    def words(self) -> str:
        return str(self.body.get("message", "") or self.body) if self.status else ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results when all executions have ended.

    Attributes:
        executions: how many were under way; all of them are judged.
        settled: rows that were seen uncertain meanwhile, and are not any more.
        seconds: from what happened to the end of it all.
    """

    executions: int
    findings: Findings
    settled: int
    seconds: float


@dataclass
class Scene:
    """See `open_scene`.

    Attributes:
        server: the one that callers ask. `workers`: two, on machines of their own.
    """

    deployment: ServerDeployment
    pool: ThreadPoolExecutor
    watch: Watch
    server: Process = field(init=False)
    workers: list[Process] = field(init=False)
    _found: list[str] = field(default_factory=list)
    _began: float = 0.0
    _calls: list[Future[Answer]] = field(default_factory=list)

    def set_up(self) -> None:
        """Start the processes, and write a stage of another program to the store."""
        deployment = self.deployment
        self.server = deployment.serve()
        self.workers = [deployment.worker(), deployment.worker()]
        deployment.apply(pipeline("steady", "slow", "seconds: 0.02", attempts=5))
        source = str(uuid7())
        few = [f"{source}/found/few/{n:05d}.txt" for n in range(WORKED)]
        many = [f"{source}/found/many/{n // 500:03d}/{n:05d}.txt" for n in range(LISTED)]
        self.source, self._found = source, few + many
        list(self.pool.map(deployment.put, self._found))

    # -- the work ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin all three, and stand the server still in the middle of them; `go_on` ends that."""
        deployment = self.deployment
        # The work may be over before we see it: then there is more of it.
        for _ in range(5):
            deployment.run("steady", inputs(RUN))
            self.call("few", "work")
            crew = [self.server, *self.workers]
            if deployment.until(self._how_far, "the work to have begun", alive=crew) == "in the middle":
                break
        else:
            raise deployment.failed("the work was always over before it was seen")
        # Publishing may be over before we see it: then it is asked for again.
        with looking(deployment.direct.catalog) as look:
            for _ in range(10):
                asked = self.call("many", "hand_over")
                while not asked.done():
                    if look(_LISTING):
                        self.server.pause()
                        if look(_LISTING):
                            self._began = time.monotonic()
                            return
                        self.server.resume()
        raise deployment.failed("the server could not be stopped in the middle of a replay")

    def go_on(self) -> None:
        """Let the server go on."""
        self.server.resume()

    def call(self, path: str, route: str) -> Future[Answer]:
        """Ask the server for a replay, from a thread."""
        called = self.pool.submit(self.ask, path, route)
        self._calls.append(called)
        return called

    def ask(self, path: str, route: str) -> Answer:
        """Ask the server for a replay, and wait for its answer."""
        body = {
            "from_execution_id": self.source,
            "from_stage": "found",
            "from_path": path,
            "to_route": f"steady/{route}",
        }
        began = time.monotonic()
        try:
            said = httpx.post(
                f"{self.server.url}/api/v1/replay", json=body, timeout=_ANSWER_SECONDS, trust_env=False
            )
        except httpx.TransportError:
            return Answer(0, None, time.monotonic() - began)
        return Answer(said.status_code, said.json(), time.monotonic() - began)

    def _how_far(self) -> str:
        """`in the middle` when some of the newest run is done, and neither it nor the replay after it is
        nearly over; `over` when that can't be any more; nothing before."""
        found = self.deployment.rows(
            "SELECT count(m.id) FILTER (WHERE m.state = 3) AS done, count(m.id) AS total FROM executions e "
            "LEFT JOIN messages m ON m.execution = e.n WHERE e.kind <> 'adopted' GROUP BY e.n ORDER BY e.n"
        )
        if len(found) % 2:
            return ""  # the replay is not there yet
        run, replay = found[-2:]
        left = [row["total"] - row["done"] for row in (run, replay)]
        if run["done"] > 10 and min(left) > 10:
            return "in the middle"
        whole = (run["total"] == 3 * RUN and left[0] <= 10) or (
            replay["total"] == 3 * WORKED and left[1] <= 10
        )
        return "over" if whole else ""

    def lose_server(self, heir: Process) -> None:
        """Kill the server; `heir` answers from now on. Waiting clients get no answer."""
        self.server.kill()
        self.server = heir
        self._calls.clear()

    def lose_worker(self, n: int) -> None:
        """Kill a worker that is at work, and start one on another machine."""
        held = (
            "SELECT 1 FROM messages m JOIN processes p ON p.id = m.worker WHERE m.state = 1 AND p.pid = "
            f"{self.workers[n].popen.pid}"
        )
        with looking(self.deployment.direct.catalog) as look:
            for _ in range(5):  # what there was to do may be done: then there is more
                until = time.monotonic() + 5
                while not (found := look(held)) and time.monotonic() < until:
                    time.sleep(0.005)
                if found:
                    break
                self.deployment.run("steady", inputs(RUN))
            else:
                raise self.deployment.failed("the worker was never seen at work")
            self.workers[n].kill()
        self.workers[n] = self.deployment.worker()

    @property
    def taken_over(self) -> int:
        """How many jobs were taken by a second process, or by more of them."""
        return len(self.deployment.rows("SELECT 1 FROM jobs WHERE epoch > 1"))

    # -- results -----------------------------------------------------------------------------------

    def finish(self) -> Outcome:
        """Wait until all has ended, and count.

        Raises `DeploymentFailed` when something does not end, or a process did.
        """
        deployment = self.deployment
        findings = Findings()
        for called in self._calls:
            findings.lost += _lies(called.result())
        replays = {r["execution_id"]: r["from_path"] for r in deployment.items("/replays")}
        executions = [e["execution_id"] for e in deployment.items("/executions", kind="run")] + list(replays)
        for execution in executions:
            deployment.ended(execution, seconds=WITHIN)
        # An execution ends with its last row; its job is closed after that.
        deployment.until(
            lambda: not deployment.rows("SELECT 1 FROM jobs WHERE state IN ('uploading', 'publishing')"),
            "all jobs to be closed",
            seconds=WITHIN,
        )
        seconds = time.monotonic() - self._began
        for execution in executions:
            findings.add(self._judge(execution, replays.get(execution)))
        for process in (self.server, *self.workers):
            if process.code is not None:
                raise deployment.failed(f"{process.name} ended with {process.code}")
        for process in deployment.processes:
            said = process.said.splitlines()
            for n, line in enumerate(said):
                if "loop_failed" in line or "Traceback" in line or "guest:guest" in line:
                    findings.lost.append("\n".join([f"{process.name} said: {line}", *said[n + 1 : n + 60]]))
        return Outcome(len(executions), findings, self.watch.settled(), seconds)

    def _judge(self, execution: str, path: str | None) -> Findings:
        if path is None:
            ledger = Ledger(self.deployment, execution)
            found, wanted = ledger.audit(route="work"), 3 * RUN
        else:
            keys = [key for key in self._found if f"/found/{path}/" in key]
            ledger = Ledger(self.deployment, execution, source=self.source)
            route, each = ("work", 3) if path == "few" else ("hand_over", 1)
            found, wanted = ledger.audit(route=route, found=keys), each * len(keys)
        counts = ledger.shown["counts"]
        if (counts["completed"], counts["total"]) != (wanted, wanted):
            found.lost.append(f"{wanted} completed: {counts}")
        return found


def _lies(answer: Answer) -> list[str]:
    """What is wrong with an answer, whatever happened: its numbers, or its words."""
    if answer.status == 200:
        found, published, failed = (
            answer.body[f"objects_{name}"] for name in ("found", "published", "failed")
        )
        if found != published + failed or (answer.body["status"] == "publishing_complete") != (failed == 0):
            return [f"an answer whose numbers hold: {answer.body}"]
        if failed and not any("will be settled" in line for line in answer.body["errors"] or ()):
            return [f"an answer that names what failed: {answer.body}"]
    elif answer.status != 503:
        return [f"an answer: {answer.status} {answer.body} after {answer.seconds:.0f} s"]
    return []


class Watch:
    """Polls the uncertain rows from a thread, and waits while the catalog is unavailable."""

    def __init__(self, catalog: str) -> None:
        self._url = plain(catalog)
        self._seen: set[Any] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def settled(self) -> int:
        """How many rows were seen uncertain, and are not now."""
        return len(self._seen - self._look())

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._ended.wait(0.2):
            try:
                self._seen |= self._look()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, _CUT):
                continue

    def _look(self) -> set[Any]:
        return {row["id"] for row in query(self._url, "SELECT id FROM messages WHERE published = -1")}


@contextmanager
def open_scene(urls: Urls, *, through: Urls | None = None) -> Iterator[Scene]:
    """A deployment with a server and two workers; arguments as for `open_server_deployment`."""
    with (
        open_server_deployment(urls, through=through, adapters=_ADAPTERS, **SETTINGS) as deployment,
        ThreadPoolExecutor(_WRITERS) as pool,
        Watch(deployment.direct.catalog) as watch,
    ):
        scene = Scene(deployment, pool, watch)
        scene.set_up()
        try:
            yield scene
        finally:
            # Before the threads that wait for its answers.
            deployment.close()
