"""Kill a process at each named point, restart it, and count the results.

A `Case` names the process, the point and the job. A `Trier` runs cases one after another on its stand.
`trying` uses several at once, because most of a case is waiting until a dead process is noticed.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal

import httpx

from tests.acceptance.ledger import Findings, Ledger, Picture
from tests.acceptance.pipelines import PIPELINES
from tests.acceptance.stand import Job, Stand, Who, open_stand

What = Literal["run", "replay"]


@dataclass(frozen=True, slots=True)
class Case:
    """A process that dies.

    Attributes:
        point: where.
        n: at which pass.
        what: is going on.
        who: dies.
        pipeline: what the messages go through.
        purged: what the dead one held is lost by the broker too: only the reconciler can call it again.
    """

    point: str
    n: int
    what: What
    who: Who
    pipeline: str = "pages"
    purged: bool = False

    @property
    def fault(self) -> str:
        return f"{self.point}:{self.n}"

    def __str__(self) -> str:
        return f"{self.fault}-{self.what}-{self.who}-{self.pipeline}" + ("-purged" if self.purged else "")


_WORKER: Final = (  # in the order in which a message passes them
    *("claimed", "read", "ran", "bound", "sidecar", "object"),
    *("committed", "published", "marked", "acked", "checked"),
)
_REPLAY: Final = ("listed", "recorded", "published", "marked")
_BOTH: Final[tuple[What, ...]] = ("run", "replay")

CASES: Final = (
    *(Case(f"worker.{p}", 1, what, "worker") for p in _WORKER for what in _BOTH),
    *(Case(f"worker.{p}", 7, what, "worker", purged=True) for p in _WORKER for what in _BOTH),
    *(Case(f"worker.{p}", 5, "run", "worker", "uneven") for p in _WORKER),
    # Once a page: the second pass is in the middle of a listing.
    *(Case(f"replay.{p}", n, what, "serve", "bulk") for p in _REPLAY for n in (1, 2) for what in _BOTH),
    *(Case(f"replay.{p}", 2, what, "serve", "outside") for p in _REPLAY for what in _BOTH),
    # Once a job: the later pass is in a later job of the same process.
    *(Case("replay.closed", n, what, "serve") for n in (1, 3) for what in _BOTH),
    *(Case("replay.created", n, "replay", "serve") for n in (1, 3)),
    *(Case(f"replay.{p}", 1, "replay", "cli") for p in ("created", *_REPLAY, "closed")),
    *(Case(f"replay.{p}", 1, what, "heir") for p in (*_REPLAY, "closed") for what in _BOTH),
    *(Case("submit.stored", n, "run", who, "bulk") for n in (1, 300) for who in ("serve", "cli")),
    *(Case("submit.sealed", n, "run", "serve") for n in (1, 3)),
    Case("submit.sealed", 1, "run", "cli"),
    *(Case("reconciler.published", n, what, "heir", "late") for n in (1, 2) for what in _BOTH),
)

_MOST_TRIES = 5
"""Runs or replays that are started until the point is struck: the other worker may take all of one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case left behind. `executions`: how many were under way; all of them are judged."""

    case: Case
    executions: int
    findings: Findings
    seconds: float


Pictures = Mapping[tuple[str, What], Picture]


class Trier:
    """Runs cases on a stand with two workers, and with a finished run of each pipeline."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self._deployment = stand.deployment
        self._sources: dict[str, str] = {}
        for name, pipeline in PIPELINES.items():
            for path, data in pipeline.inputs.items():
                file = self._deployment.folder / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            self._sources[name] = self._deployment.run(name, pipeline.inputs)
        for execution in self._sources.values():
            self._deployment.ended(execution)
        self._known = set(self._sources.values())

    def undisturbed(self) -> Pictures:
        """The results of a run and a replay of each pipeline without a kill."""
        found: dict[tuple[str, What], Picture] = {}
        for name, source in self._sources.items():
            replayed = str(self._begin(name, "replay"))
            self._deployment.ended(replayed)
            for execution, what in ((source, _BOTH[0]), (replayed, _BOTH[1])):
                ledger = Ledger(self._deployment, execution, source=source)
                findings = ledger.audit(route=PIPELINES[name].entry)
                if not findings.exact:
                    raise self._deployment.failed(f"{what} of {name}, without a kill:\n{findings}")
                found[name, what] = ledger.picture()
        self._new()  # what comes from now on belongs to cases
        return found

    def attempt(self, case: Case, pictures: Pictures) -> Outcome:
        """Kill, restart, wait until all executions have ended, and count.

        Raises `DeploymentFailed` when the point is never reached, or something does not end.
        """
        began = time.monotonic()
        if case.who in ("worker", "serve"):
            self._strike(case)
        elif case.who == "cli":
            self.stand.strike("cli", case.fault, self._job(case), alone=False)
        else:
            self.stand.strike("heir", case.fault, self._job(case))
            self.stand.start()
        findings = Findings()
        executions = self._new()
        for execution in executions:
            self._deployment.ended(execution)
            if case.point == "submit.stored":
                findings.add(self._judge_unsealed(execution))
            else:
                findings.add(self._judge(case, execution, pictures))
        if case.point == "submit.stored":
            # The caller, left without an answer, sends it again.
            again = str(self._begin(case.pipeline, "run"))
            self._deployment.ended(again)
            findings.add(self._judge(case, again, pictures))
            self._new()
        if not executions:
            raise self._deployment.failed(f"{case}: nothing was under way")
        self._deployment.check_audit()
        self._deployment.forget()
        return Outcome(case, len(executions), findings, time.monotonic() - began)

    # -- who dies ----------------------------------------------------------------------------------

    def _strike(self, case: Case) -> None:
        """Let a worker or the server die while the other processes continue, and replace it."""
        stand, deployment = self.stand, self._deployment
        if case.who == "serve":
            stand.server.stop()
            armed = deployment.serve(fault=case.fault)
        else:
            stand.workers.pop().stop()
            armed = deployment.worker(fault=case.fault, settings=deployment.holds if case.purged else {})
        for _ in range(_MOST_TRIES):
            execution = self._begin(case.pipeline, case.what)
            deployment.until(
                lambda e=execution: armed.code is not None or self._has_ended(e),  # type: ignore[misc]
                f"{armed.name} to die at {case.fault}, or execution {execution} to end",
            )
            if armed.code is not None:
                break
        deployment.struck(armed, seconds=1)
        if case.purged:
            deployment.forget_held()
        if case.who == "serve":
            stand.server = deployment.serve()
        else:
            stand.workers.append(deployment.worker())

    def _job(self, case: Case) -> Job:
        name = case.pipeline
        if case.what == "run":
            return Job(("run", name, name, "--detach"), begun="submit.sealed")
        command = ("replay", self._sources[name], "input", PIPELINES[name].entry)
        return Job(command, begun="replay.created")

    def _begin(self, name: str, what: What) -> str | None:
        """Start a run or a replay over HTTP; None when the server died under it."""
        pipeline = PIPELINES[name]
        with suppress(httpx.TransportError):
            if what == "run":
                return self._deployment.run(name, pipeline.inputs)
            answer = self._deployment.replay(self._sources[name], "input", pipeline.entry)
            return str(answer["execution_id"])
        return None

    def _has_ended(self, execution: str | None) -> bool:
        if execution is not None:
            with suppress(httpx.TransportError):
                return bool(self._deployment.get(f"/executions/{execution}")["status"] != "running")
        return False

    # -- results -----------------------------------------------------------------------------------

    def _new(self) -> list[str]:
        """The executions that came since the last look, oldest first."""
        found = [e["execution_id"] for e in self._deployment.items("/executions")]
        new = [e for e in reversed(found) if e not in self._known]
        self._known.update(new)
        return new

    def _judge(self, case: Case, execution: str, pictures: Pictures) -> Findings:
        pipeline = PIPELINES[case.pipeline]
        source = self._sources[case.pipeline] if case.what == "replay" else execution
        ledger = Ledger(self._deployment, execution, source=source)
        findings = ledger.audit(route=pipeline.entry)
        findings.again -= pipeline.retries
        if pipeline.name != "uneven":  # which is never twice the same
            findings.add(ledger.picture().compare(pictures[pipeline.name, case.what]))
        return findings

    def _judge_unsealed(self, execution: str) -> Findings:
        """A run that was never sealed has failed, says why, and nothing of it counts."""
        found = Findings()
        ledger = Ledger(self._deployment, execution)
        error = (ledger.shown["error"] or {}).get("code")
        if (ledger.shown["status"], error) != ("failed", "upload_incomplete"):
            found.lost.append(f"an end that says so: {ledger.shown['status']}, {error}")
        found.doubled += [f"{r.route} of {r.key}, never sealed" for r in ledger.rows]
        stages = self._deployment.get(f"/executions/{execution}/stages")["items"]
        found.doubled += [f"{s['objects']} in {s['stage']}, never sealed" for s in stages if s["objects"]]
        return found


@contextmanager
def trying(cases: Sequence[Case], *, stands: int = 2) -> Iterator[Mapping[Case, Future[Outcome]]]:
    """Run cases in order on several stands; each future has the outcome of its case.

    The undisturbed results come from the first stand, before any kill. After a failed case its stand is
    abandoned, so that no other case fails because of it.
    """
    free: queue.LifoQueue[Trier | None] = queue.LifoQueue()
    with ExitStack() as opened, ThreadPoolExecutor(stands) as pool:

        def new() -> Trier:
            sources = (pipeline.source for pipeline in PIPELINES.values())
            return Trier(opened.enter_context(open_stand(*sources, workers=2)))

        def first() -> Pictures:
            trier = None
            try:
                trier = new()
                return trier.undisturbed()
            finally:
                free.put(trier)

        def attempt(case: Case) -> Outcome:
            trier = free.get()
            try:
                trier = trier or new()
                outcome = trier.attempt(case, pictures.result())
            except BaseException:
                if trier:
                    trier.stand.end()
                free.put(None)
                raise
            free.put(trier)
            return outcome

        # First in the queue: the cases, which wait for it, can't keep it from running.
        pictures = pool.submit(first)
        for _ in range(stands - 1):
            free.put(None)
        try:
            yield {case: pool.submit(attempt, case) for case in cases}
        finally:
            pool.shutdown(cancel_futures=True)
