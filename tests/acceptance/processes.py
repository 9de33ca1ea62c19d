"""Real processes on one home, for tests that kill them.

A `Deployment` has what an operator has: a folder, a server, workers, the command line. Its intervals are
short, so that a dead process is noticed within a second. When the context ends, the remaining processes are
killed. A failure quotes the last lines of each process's log.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import httpx

from tests import program
from tests.acceptance.recorded import differences
from tests.stored import stored

T = TypeVar("T")

STEPS = Path(__file__).with_name("faulty_steps.py")
SETTINGS: Mapping[str, str] = {
    "HEARTBEAT_SECONDS": "0.1",
    "LEASE_SECONDS": "1",
    "VISIBILITY_SECONDS": "2",
    "SETTLE_SECONDS": "60",
}
"""`PLAYHEAD_*` of every process of a deployment, unless it says otherwise. A replay answers when its messages
are confirmed, however long a busy broker takes for it."""

DEADLINE_SECONDS = 60.0
"""For anything that is waited for. Far above what it takes: a busy machine must not fail a test."""

LIVE: Mapping[str, Any] = {"HEARTBEAT_SECONDS": "60"}
"""For tests in which no worker dies: none is taken for dead either, however slow the machine is."""

STEADY: Mapping[str, str] = {"HEARTBEAT_SECONDS": "0.5"}
"""For tests that count attempts: a process that is slow for a moment is not missed, and its work not done
again."""

_LISTENING = re.compile(r"Playhead listening on (http://\S+)")
_LAST_LINES = 15


class DeploymentFailed(AssertionError):
    """A deployment did not do what it should; the text holds what its processes said last."""


@dataclass(slots=True)
class Process:
    """A process of a deployment. Its stderr goes to `log`; `url` is where a server listens."""

    name: str
    popen: program.Program
    log: Path
    fault: str = ""
    url: str = ""

    @property
    def said(self) -> str:
        """What it wrote to stderr so far."""
        return self.log.read_text("utf-8", "replace")

    @property
    def code(self) -> int | None:
        """Its exit code, -9 after SIGKILL; None while it runs."""
        return self.popen.poll()

    @property
    def was_struck(self) -> bool:
        """Whether it died at the fault point that it was armed with, and of nothing else."""
        point = self.fault.partition(":")[0]
        return self.code == -signal.SIGKILL and f"fault: {point}" in self.said.splitlines()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone. Works on one that is paused or has ended, too."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code. One that does not stop within the deadline is killed (-9)."""
        self.popen.terminate()
        try:
            return self.popen.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def pause(self) -> None:
        """Send SIGSTOP: it keeps its connections and locks. Return when its last thread is stopped.

        A thread on another processor may run for a moment after the signal, and take a lock.
        """
        self.popen.send_signal(signal.SIGSTOP)
        while self.code is None and not is_stopped(self.popen.pid):
            time.sleep(0.001)

    def resume(self) -> None:
        """SIGCONT, at any later time."""
        self.popen.send_signal(signal.SIGCONT)


def is_stopped(pid: int) -> bool:
    """Return whether every thread of a process is stopped (SIGSTOP)."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # that thread has ended
            if stat.read_text().rpartition(")")[2].split()[0] not in "TZX":
                return False
    return True


@dataclass
class Deployment:
    """A home, its processes, and ways to ask them. Make one with `open_deployment`.

    Attributes:
        folder: where the processes run and their logs are; the home is `folder/home`.
        environment: of every process.
        url: of the server that was started last.
        namespaces: files of /proc whose namespaces each process enters.
        user: of each process, instead of the user of the tests.
    """

    folder: Path
    environment: Mapping[str, str]
    url: str = ""
    namespaces: Sequence[str] = ()
    user: int | None = None
    processes: list[Process] = field(default_factory=list)
    _started: int = 0

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def objects(self) -> Path:
        return self.home / "objects"

    @property
    def data(self) -> Path:
        """Where adapters write (`Context.data_dir`)."""
        return self.home / "data"

    # -- processes ---------------------------------------------------------------------------------

    def start(
        self,
        *arguments: str,
        fault: str = "",
        stdout: int = subprocess.DEVNULL,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> Process:
        """Start `playhead ARGUMENTS…` and return at once.

        Args:
            fault: `point[:n]`, where it kills itself.
            settings: of this process alone, named like those of `SETTINGS`.
        """
        self._started += 1
        name = f"{self._started:02d}-{arguments[0]}"
        log = self.folder / "logs" / f"{name}.log"
        environment = {**self.environment, **variables({"FAULT": fault, **self.own(name), **settings})}
        with log.open("wb") as sink:
            popen = program.start(
                arguments,
                cwd=self.folder,
                env=environment,
                stdout=stdout,
                stderr=sink,
                text=False,
                namespaces=self.namespaces,
                user=self.user,
            )
        process = Process(name, popen, log, fault)
        self.processes.append(process)
        return process

    def own(self, process: str) -> Mapping[str, str]:
        """Settings that a process has for itself."""
        return {}

    def serve(
        self, *arguments: str, fault: str = "", settings: Mapping[str, str] = MappingProxyType({})
    ) -> Process:
        """Start a server on a free port; returns when it listens. `url` is its address from now on."""
        server = self.start("serve", "--port", "0", *arguments, fault=fault, settings=settings)
        found = self.until(lambda: _LISTENING.search(server.said), "the server to listen", alive=[server])
        self.url = server.url = found[1]
        return server

    def worker(
        self, *arguments: str, fault: str = "", settings: Mapping[str, str] = MappingProxyType({})
    ) -> Process:
        """Start a worker; returns when it has begun to consume."""
        worker = self.start("worker", *arguments, fault=fault, settings=settings)
        self.until(lambda: "worker_started" in worker.said, "the worker to start", alive=[worker])
        return worker

    def close(self) -> None:
        """Kill whatever still runs."""
        for process in self.processes:
            process.kill()

    def forget(self) -> None:
        """Omit ended processes from later reports."""
        self.processes = [p for p in self.processes if p.code is None]

    # -- asking ------------------------------------------------------------------------------------

    def cli(self, *arguments: str, code: int = 0) -> Any:
        """Run one command with `--json` to its end and return what it printed.

        Raises `DeploymentFailed` when it ends with another code than `code`.
        """
        command = self.start(*arguments, "--json", stdout=subprocess.PIPE)
        out, _ = command.popen.communicate(timeout=2 * DEADLINE_SECONDS)
        if command.code != code:
            raise self.failed(f"`playhead {' '.join(arguments)}` ended with {command.code}, not {code}")
        return json.loads(out)

    def get(self, path: str, **query: str | int) -> Any:
        """The JSON at `/api/v1{path}`."""
        return self._read("GET", path, params=query)

    def items(self, path: str, **query: str | int) -> Iterator[Any]:
        """Every item of a list, page by page."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=1000, **query, **cursor)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def post(self, path: str, **body: Any) -> Any:
        """Send a body (`json`, `content`, `files` … as httpx names them) to `/api/v1{path}`.

        Raises `httpx.TransportError` when the server dies under it, `DeploymentFailed` for an error status.
        """
        return self._read("POST", path, **body)

    def _read(self, method: str, path: str, **request: Any) -> Any:
        with client(f"{self.url}/api/v1") as http:
            answer = http.request(method, path, **request)
        if answer.is_error:
            raise self.failed(f"{method} {path} was answered with {answer.status_code}: {answer.text}")
        return answer.json()

    def apply(self, source: str) -> Any:
        """Apply a config."""
        return self.post("/configs", content=source, headers={"content-type": "application/yaml"})

    def run(self, config: str, inputs: Mapping[str, bytes], *, tag: str = "") -> str:
        """Start a run of `inputs` (path to bytes) over HTTP; returns its id at once."""
        files = [("files", (path, data)) for path, data in inputs.items()]
        tags = {"tags": tag} if tag else {}
        answer = self.post(f"/configs/{config}/run", files=files, data=tags)
        return str(answer["execution_id"])

    def replay(
        self,
        execution: str,
        stage: str,
        route: str,
        path: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Any:
        """Replay over HTTP; returns the contract's answer when publishing has ended.

        `fields` of the body are beyond the contract's.
        """
        body = {
            "from_execution_id": execution,
            "from_stage": stage,
            "from_path": path,
            "to_route": route,
        }
        return self.post("/replay", json=body | fields, headers=headers)

    # -- counting ----------------------------------------------------------------------------------

    def rows(self, sql: str, *values: object) -> list[Any]:
        """Rows of the catalog, each a mapping by column: for recounts, never for a verdict alone.

        Ids are given as `UUID`; what comes back is as the database holds it.
        """
        plain = [value.bytes if isinstance(value, UUID) else value for value in values]
        where = f"file:{self.home}/playhead.db?mode=ro"
        with closing(sqlite3.connect(where, uri=True, timeout=DEADLINE_SECONDS)) as con:
            con.row_factory = sqlite3.Row
            return con.execute(sql, plain).fetchall()

    def stored(self, execution: str) -> dict[str, bytes]:
        """Every object of the store below an execution, sidecars among them, by its whole key."""
        return stored(self.objects, execution)

    def noted(self, execution: str) -> list[str]:
        """The lines that the steps of an execution wrote."""
        log = self.data / f"{execution}.log"
        return log.read_text().splitlines() if log.exists() else []

    def called(self, queue: str, execution: str) -> set[str]:
        """Return the correlation ids of an execution's messages in an external queue."""
        found = self.rows(
            "SELECT d.message_id FROM dispatches d JOIN queues q ON q.id = d.queue "
            "WHERE q.name = ? AND d.headers LIKE ?",
            *(queue, f"%{execution}%"),
        )
        return {r["message_id"].rpartition(".")[0] for r in found}

    # -- a broker that forgets ---------------------------------------------------------------------

    holds: ClassVar[Mapping[str, str]] = MappingProxyType({"VISIBILITY_SECONDS": "3600"})
    """Settings of a process whose messages `forget_held` is to find."""

    def forget_held(self) -> None:
        """Make the broker lose what a process held that was killed, as an operator's hand may."""
        # It is known by how long it stays hidden, which is far above what others ask for.
        with closing(sqlite3.connect(self.home / "playhead.db", timeout=DEADLINE_SECONDS)) as con, con:
            con.execute("DELETE FROM dispatches WHERE visible_at > ?", (time.time() + 1800,))

    # -- waiting -----------------------------------------------------------------------------------

    def until(
        self,
        look: Callable[[], T | None],
        what: str,
        *,
        seconds: float = DEADLINE_SECONDS,
        alive: Sequence[Process] = (),
    ) -> T:
        """Look again and again until the answer is true, and return it.

        Raises `DeploymentFailed` past the deadline, or when one of `alive` has ended.
        """
        began = time.monotonic()
        while True:
            found = look()
            if found:
                return found
            for process in alive:
                if process.code is not None:
                    raise self.failed(f"{process.name} ended with {process.code} while waiting for {what}")
            waited = time.monotonic() - began
            if waited > seconds:
                raise self.failed(f"waited {seconds:g} s in vain for {what}")
            # Each check takes processor time from the processes under test.
            time.sleep(min(max(waited / 10, 0.01), 0.2))

    def ended(self, execution: str, *, seconds: float = DEADLINE_SECONDS) -> Any:
        """Wait until an execution has ended and return it, as the API shows it."""

        def look() -> Any:
            found = self.get(f"/executions/{execution}")
            return found if found["status"] != "running" else None

        return self.until(look, f"execution {execution} to end", seconds=seconds)

    def struck(self, process: Process, *, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until a process has died at its fault point, and compare the audit with the catalog.

        Raises `DeploymentFailed` if it did not die there, or if the audit is not right.
        """
        try:
            process.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.failed(f"{process.name} never reached {process.fault}") from None
        if not process.was_struck:
            raise self.failed(f"{process.name} ended with {process.code}, but not at {process.fault}")
        self.check_audit()

    def check_audit(self) -> None:
        """Raise `DeploymentFailed` if a change has no row in the audit, or a row has no change."""
        if found := differences(self.rows):
            raise self.failed("\n".join(["the audit differs from the catalog:", *found]))

    def failed(self, what: str) -> DeploymentFailed:
        """An error that says `what`, and what each process said last."""
        told = [what]
        for process in self.processes:
            last = process.said.splitlines()[-_LAST_LINES:]
            state = "runs" if process.code is None else f"ended with {process.code}"
            told.append(f"--- {process.name} ({state}) {process.fault}")
            told += last or ["(it said nothing)"]
        return DeploymentFailed("\n".join(told))


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds since the block began, without stalls of the machine.

    For limits on the time of a process, which must not fail because the whole machine was suspended.
    """
    passed, over = 0.0, threading.Event()

    def tick() -> None:
        nonlocal passed
        last = time.monotonic()
        while not over.wait(0.02):
            now = time.monotonic()
            passed += min(now - last, 0.1)
            last = now

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield lambda: passed
    finally:
        over.set()
        ticking.join()


def client(url: str) -> httpx.Client:
    """Return a client of a server. Without TLS, as loading the certificates takes longer than a request."""
    return httpx.Client(base_url=url, timeout=DEADLINE_SECONDS, trust_env=False, verify=False)


def variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"PLAYHEAD_{name}": value for name, value in settings.items()}


def outside() -> dict[str, str]:
    """Return the environment of the tests without Playhead's settings."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PLAYHEAD_")}


@contextmanager
def deployment_folder() -> Iterator[Path]:
    """A folder for a deployment, with one for logs in it."""
    # Memory where there is some: a kill -9 loses nothing of it, and a commit costs no disk's time.
    shared = Path("/dev/shm")
    root = shared if os.access(shared, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="playhead-deployment-", dir=root))
    (folder / "logs").mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def open_deployment(*, adapters: Path = STEPS, **settings: str) -> Iterator[Deployment]:
    """A new deployment with nothing running; all of it is gone when the block is left.

    Args:
        adapters: a file of steps.
        settings: over `SETTINGS`, named like those.
    """
    with deployment_folder() as folder:
        own = {"HOME": str(folder / "home"), "ADAPTERS": str(adapters), **SETTINGS, **settings}
        deployment = Deployment(folder, outside() | variables(own))
        try:
            yield deployment
        finally:
            deployment.close()
