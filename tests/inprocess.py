"""A whole Playhead in the test's own event loop: real SQLite, real files, the real HTTP app.

Nothing is worked unless a test says so (`work`, `working`), so it can look at what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from playhead import __version__
from playhead.api.app import create_app
from playhead.api.callers import Hosts
from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.envelope import Dispatch, Message
from playhead.ports.broker import Broker, Delivery, PublishResult
from playhead.ports.store import Store
from playhead.settings import Settings
from tests.asgi import Api, client
from tests.lab import Wrapper, drive_over
from tests.stored import put, stored as stored_below
from tests.waiting import until

STEPS = Path(__file__).with_name("inprocess_steps.py")
PATIENCE = 60.0
Step = Callable[[Any, Any], Any]


class Playhead(Api):
    """The parts, and the words that the tests are written in."""

    def __init__(self, rt: Runtime, steps: Any) -> None:
        self.rt = rt
        self.steps = steps
        self.app = create_app(
            rt.services,
            version=__version__,
            hosts=Hosts(loopback=False),
            max_body_bytes=rt.settings.max_body_bytes,
            max_upload_bytes=rt.settings.max_upload_bytes,
        )
        self.http = client(self.app)

    async def close(self) -> None:
        self.steps.opened.set()
        await self.http.aclose()

    @property
    def objects(self) -> Path:
        return self.rt.settings.home / "objects"

    def replay_over(
        self, *, store: Store | None = None, broker: Broker | None = None, settle: float | None = None
    ) -> None:
        """Let replays list and publish through others; workers and the reconciler keep the real ones.

        Args:
            settle: seconds without progress after which a client gets an answer. The default is longer than
                any test waits.
        """
        drive_over(self.rt, store=store, broker=broker, settle=settle)
        self.app.state.services = self.rt.services

    # -- HTTP --------------------------------------------------------------------------------------

    async def apply(self, source: str) -> dict[str, Any]:
        """Apply a config given as YAML; `version` and `name` may be left out of it (then it is `docs`)."""
        head = "" if "version:" in source else 'version: "1.0"\n'
        head += "" if "\nname:" in "\n" + source else "name: docs\n"
        return await self.send_config(head + source)

    async def submit(self, files: Mapping[str, bytes | str], config: str = "docs", **form: Any) -> str:
        """Start a run; returns the execution's id once its inputs are recorded (nothing is worked yet)."""
        sent = [("files", (n, d.encode() if isinstance(d, str) else d)) for n, d in files.items()]
        answer = await self.http.post(f"/api/v1/configs/{config}/run", files=sent, data=form)
        assert answer.status_code == 202, answer.text
        execution = str(answer.json()["execution_id"])

        async def recorded() -> bool:
            counts: dict[str, int] = (await self.execution(execution))["counts"]
            return counts["total"] >= len(files)  # more if results are taken over

        await until(recorded)
        return execution

    async def run(self, files: Mapping[str, bytes | str], config: str = "docs", **form: Any) -> str:
        """Run files to the end; returns the execution's id."""
        execution = await self.submit(files, config, **form)
        await self.work(execution)
        return execution

    async def replayed(self, source: str, stage: str, route: str, **more: Any) -> str:
        """Replay to the end; returns the execution's id."""
        body = {"from_execution_id": source, "from_stage": stage, "to_route": route}
        execution = str((await self.post("replay", body | more))["execution_id"])
        await self.work(execution)
        return execution

    async def execution(self, execution: str) -> Any:
        return await self.get(f"executions/{execution}")

    async def ended(self, execution: str) -> Any:
        """The execution, as soon as it has ended."""

        async def over() -> bool:
            return bool((await self.execution(execution))["status"] != "running")

        await until(over)
        return await self.execution(execution)

    async def stored(self, execution: str, stage: str | None = None) -> dict[str, str]:
        """Return the stored objects of an execution: text by `stage/path`."""
        listed = await self.items("storage/objects", execution_id=execution, stage=stage)
        below = stored_below(self.objects)
        return {f"{o['stage']}/{o['path']}": below[o["taken_over_from"] or o["key"]].decode() for o in listed}

    async def messages(self, execution: str, **query: Any) -> list[dict[str, Any]]:
        return await self.items(f"executions/{execution}/lineage", **query)

    async def dead(self, execution: str) -> dict[str, str]:
        """Error codes of an execution's dead letters, by `stage/path` of the input."""
        found = await self.items("dead-letters", execution_id=execution)
        return {letter["input_key"].partition("/")[2]: letter["error_code"] for letter in found}

    async def route(self, name: str) -> dict[str, Any]:
        return next(r for r in await self.items("routes") if r["route"] == name)

    # -- the other doors ---------------------------------------------------------------------------

    async def peek(self, queue: str, limit: int = 1000) -> list[Message]:
        return await self.rt.services.queues.peek(queue, limit)

    async def waiting(self, queue: str) -> list[str]:
        """Keys that wait in a queue, without their execution."""
        return [m.payload["object_key"].partition("/")[2] for m in await self.peek(queue)]

    def put(self, execution: object, rest: str, data: str = "data") -> str:
        """Put an object there by hand, as another program would; returns its key."""
        put(self.objects, f"{execution}/{rest}", data.encode())
        return f"{execution}/{rest}"

    # -- working -----------------------------------------------------------------------------------

    async def work(self, execution: str) -> int:
        """Work until an execution has ended; returns the worker's exit code."""
        async with self.working() as worker:
            await self.ended(execution)
        return worker.result()

    @contextlib.asynccontextmanager
    async def working(self, *routes: str) -> AsyncIterator[asyncio.Task[int]]:
        """A worker, and a reconciler that looks every few milliseconds, for the length of a block."""
        stop = asyncio.Event()
        worker = asyncio.create_task(self.rt.work(routes=routes, stop=stop))
        hurry = asyncio.create_task(self._hurry())
        try:
            yield worker
        except BaseException:
            self.steps.opened.set()  # a test that failed does not wait for what it holds
            raise
        finally:
            stop.set()
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([worker])
            hurry.cancel()
            await asyncio.wait([hurry])
            worker.result()  # a worker that failed fails the test

    async def _hurry(self) -> None:
        while True:
            await self.rt.reconciler.cycle()
            await self.rt.reconciler.find_lost()
            await asyncio.sleep(0.02)


class Prompt(Wrapper):
    """The real broker with short waits, for a worker that has to shut down quickly."""

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        found: list[Delivery] = await self.wrapped.receive(queue, limit, wait=min(wait, 0.05))
        return found


class Tampered(Wrapper):
    """The real broker, between it and a replay whatever a test wants to go wrong.

    Attributes:
        instead: what to answer for a dispatch that is not to reach the broker; None lets it pass.
        answer: what is heard of a dispatch that the broker has taken; None: what it said.
        sent: dispatches that the broker has taken.
    """

    def __init__(self, broker: Any) -> None:
        super().__init__(broker)
        self.instead: Callable[[Dispatch], PublishResult | None] = lambda dispatch: None
        self.answer: Callable[[Dispatch], PublishResult | None] = lambda dispatch: None
        self.sent: list[Dispatch] = []

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        heard = []
        for dispatch in dispatches:
            outcome = self.instead(dispatch)
            if outcome is None:
                [said] = await self.wrapped.publish([dispatch])
                self.sent.append(dispatch)
                outcome = self.answer(dispatch) or said
            heard.append(outcome)
        return heard


def _own_steps(home: Path) -> Path:
    file = home / "steps.py"
    home.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        shutil.copy(STEPS, file)
    return file


@contextlib.asynccontextmanager
async def opened(
    home: Path, *, kind: str = "worker", more: Sequence[Path] = (), **settings: Any
) -> AsyncIterator[Playhead]:
    """Open a runtime on a home. Two at once on one home are two processes that share it.

    Args:
        home: a folder of the test's own.
        kind: of process.
        more: files with adapters, in addition to the test's copy of `inprocess_steps.py`.
        settings: fields of `Settings`.
    """
    files = tuple(str(file) for file in (_own_steps(home), *more))
    given: dict[str, Any] = {"home": home, "adapters": files, "settle_seconds": 2 * PATIENCE} | settings
    async with open_runtime(Settings(**given), kind=kind) as rt:
        steps = sys.modules[rt.adapters["do"].target.__module__]
        rt.broker = cast(Any, Prompt(rt.broker))
        playhead = Playhead(rt, steps)
        try:
            yield playhead
        finally:
            await playhead.close()


@contextlib.asynccontextmanager
async def opened_with(home: Path, config: str, doing: Step, adoing: Step) -> AsyncIterator[Playhead]:
    """Open a runtime with a config, and with the functions of its steps `do` and `ado`."""
    async with opened(home) as playhead:
        playhead.steps.doing, playhead.steps.adoing = doing, adoing
        await playhead.apply(config)
        yield playhead
