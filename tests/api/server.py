"""A complete Playhead in memory behind its HTTP API, with a worker that runs on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast
from uuid import UUID

from fastapi import FastAPI
from starlette.types import ASGIApp

from playhead import Item, Reject, adapter
from playhead.api.app import create_app
from playhead.api.callers import Hosts
from playhead.api.identify import SignedOut
from playhead.api.proxied import TrustedProxy
from playhead.bootstrap import open_runtime
from playhead.bootstrap.backends import Backends
from playhead.bootstrap.process import Runtime
from playhead.cookies import LOOPBACK_COOKIE, SessionCookie
from playhead.envelope import Dispatch
from playhead.errors import PlayheadError
from playhead.model import Dataset, Execution, Replay, RouteCounts
from playhead.ports.adapter import AdapterSpec, spec_of
from playhead.ports.broker import PublishResult
from playhead.ports.sinks import Shown, SinkContext, StagePage
from playhead.ports.store import Blob
from playhead.services import Services
from playhead.services.control import ControlService
from playhead.services.doctor import DoctorService
from playhead.services.executions import ExecutionService
from playhead.services.publish import PublishService
from playhead.services.watch import WatchService
from playhead.settings import Settings
from tests.asgi import Api, client
from tests.broker_memory import MemoryBroker
from tests.catalog_memory import MemoryCatalog
from tests.store_memory import MemoryStore

HOSTS = Hosts(loopback=True, named=frozenset({"playhead"}))
MAX_BODY = 20_000
MAX_UPLOAD = 100_000

WORDS = """\
version: "1.0"
name: words
entry: upper
routes:
  upper:
    adapters: [{type: upper}]
    outbound: {stage: shouted, to: [split]}
  split:
    adapters: [{type: split}]
    outbound: {stage: split/words}
  aside:
    inbound: {queue: elsewhere}
    external: true
"""


@adapter("upper", produces="text/markdown")
def upper(item: Item) -> str:
    if item.text.startswith("bad"):
        raise Reject(f"this is {item.text}")
    return item.text.upper()


@adapter("split", produces="text/plain")
def split(item: Item) -> Iterator[str]:
    yield from item.text.split()


@adapter("keep", sink=True)
class Keep:
    """A sink that has all rows, and shows the publication of the last switch."""

    now: ClassVar[Shown | None] = None

    def __call__(self, item: Item) -> None:
        return None

    def stage(self, page: StagePage, ctx: SinkContext) -> list[str]:
        return []

    def switch(self, n: int, seq: int, ctx: SinkContext) -> None:
        Keep.now = Shown(n, seq, n)

    def forget(self, *given: object) -> None:
        return None

    def shown(self, ctx: SinkContext) -> Shown | None:
        return Keep.now

    def results(self, *given: object) -> list[str]:
        return []


def _specs() -> dict[str, AdapterSpec]:
    found = (spec_of(function) for function in (upper, split, Keep))
    return {one.name: replace(one, code="sha256:aa", source="/x/steps.py") for one in found if one}


def new_app(
    services: Services | None = None,
    *,
    hosts: Hosts = HOSTS,
    max_upload: int = MAX_UPLOAD,
    pages: ASGIApp | None = None,
    signed_out: SignedOut | None = None,
    proxy: TrustedProxy | None = None,
    cookie: SessionCookie | None = LOOPBACK_COOKIE,
) -> FastAPI:
    return create_app(
        cast(Services, services),
        version="1.2.3",
        hosts=hosts,
        max_body_bytes=MAX_BODY,
        max_upload_bytes=max_upload,
        pages=pages,
        signed_out=signed_out,
        proxy=proxy,
        cookie=cookie,
    )


@cache
def _app() -> FastAPI:
    """One app for all tests: its only state is its services, and its `openapi.json` takes long to build."""
    return new_app()


class Outage:
    """A wrapper of a backend that is unavailable on demand, or does not answer until `gate` is set."""

    def __init__(self) -> None:
        self.error: PlayheadError | None = None
        self.gate: asyncio.Event | None = None
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)  # a real backend yields to the event loop, too
        if self.gate:
            await self.gate.wait()
        if self.error:
            raise self.error


class FickleMemoryBroker(MemoryBroker):
    """A broker whose `publish` fails on demand, as if it became unavailable in the middle.

    Attributes:
        refusal: why it refuses all dispatches; None: it accepts them.
    """

    refusal: str | None = None

    def __init__(self, publish_outage: Outage, pause: Outage) -> None:
        super().__init__(pause=pause)
        self._publish_outage = publish_outage

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        await self._publish_outage()
        if self.refusal is not None:
            return [PublishResult("refused", self.refusal)] * len(dispatches)
        return await super().publish(dispatches)


class Looking:
    """Counts the looks at executions, replays and datasets in `looks`, failed ones included."""

    def __init__(self, executions: ExecutionService, publish: PublishService) -> None:
        self._executions = executions
        self._publish = publish
        self.looks = 0

    async def get(self, execution: UUID) -> Execution:
        try:
            return await self._executions.get(execution)
        finally:
            self.looks += 1

    async def routes_of(self, found: Execution) -> list[RouteCounts]:
        return await self._executions.routes_of(found)

    async def replay(self, batch: UUID) -> Replay:
        try:
            return await self._executions.replay(batch)
        finally:
            self.looks += 1

    async def dataset(self, name: str) -> Dataset:
        try:
            return await self._publish.dataset(name)
        finally:
            self.looks += 1


class Memory:
    """The three backends in memory, each with an outage on demand."""

    def __init__(self) -> None:
        self.store_outage, self.broker_outage, self.catalog_outage = Outage(), Outage(), Outage()
        self.publish_outage = Outage()
        self.store = MemoryStore(pause=self.store_outage)
        self.broker = FickleMemoryBroker(self.publish_outage, pause=self.broker_outage)
        self.catalog = MemoryCatalog(pause=self.catalog_outage, heartbeat_seconds=60)


class Playhead(Api):
    """The components, and the steps that the tests consist of."""

    config_source = WORDS
    max_body = MAX_BODY
    max_upload = MAX_UPLOAD

    def own_app(self) -> FastAPI:
        """A new app that a test may change."""
        return new_app(self.services)

    def big_app(self) -> FastAPI:
        """An app that accepts uploads of 100 MB."""
        return new_app(self.services, max_upload=100_000_000)

    def __init__(self, rt: Runtime, memory: Memory) -> None:
        self.rt = rt
        self.store_outage, self.broker_outage = memory.store_outage, memory.broker_outage
        self.catalog_outage, self.publish_outage = memory.catalog_outage, memory.publish_outage
        self.store, self.broker, self.catalog = memory.store, memory.broker, memory.catalog
        self.replays = rt.services.replay
        self._looking = Looking(rt.services.executions, rt.services.publish)
        doctor = DoctorService([], self.catalog, self.broker)  # the backends in memory cannot be examined
        # No loop takes the jobs that are still driven when they are resumed: each is driven again.
        control = ControlService(self.catalog, drive=self._drive)
        rt.services = replace(rt.services, control=control, doctor=doctor, watch=self._watch())
        self.app = self.make_app()
        self.http = client(self.app)

    def make_app(self) -> FastAPI:
        _app().state.services = self.services
        return _app()

    @property
    def services(self) -> Services:
        return self.rt.services

    def _watch(self) -> WatchService:
        return WatchService(cast(Any, self._looking), self._looking.dataset, every=0.01)

    def _drive(self, job: UUID) -> None:
        self.rt.tasks.spawn(self.replays.drives.drive(job))

    async def driven(self) -> None:
        """Return when all started jobs have been published."""
        await asyncio.gather(*self.rt.tasks)

    async def work(self) -> None:
        """Publish pending messages and process all that can be processed."""
        await self.driven()
        for dispatch in await self.catalog.orphans(self.rt.environment.process, limit=1000):
            await self.broker.publish([dispatch])
            await self.catalog.mark_published([dispatch])
        await self.process()

    async def process(self) -> None:
        """Process all messages of the running executions, also those that are published meanwhile."""
        await self.rt.work(until_idle=True)
        await self.beat()

    async def restart(self) -> None:
        """End the open streams, as a server does that shuts down; a new one answers from now on."""
        self.services.watch.stop()
        self.rt.services = replace(self.services, watch=self._watch())
        self.app.state.services = self.services

    def load(self, name: str, **changed: str) -> None:
        """Load another version or other code of an adapter."""
        self.adapters[name] = replace(self.adapters[name], **changed)  # type: ignore[arg-type]

    @property
    def adapters(self) -> dict[str, AdapterSpec]:
        return cast(dict[str, AdapterSpec], self.rt.adapters)

    async def beat(self) -> None:
        """Send a heartbeat of the process, with its counters."""
        assert self.rt.process
        await self.catalog.heartbeat(self.rt.process, (), self.rt.environment.counters.numbers())

    async def looked(self) -> None:
        """Return after two more looks of the watchers: the second one began after this call."""
        wanted = self._looking.looks + 2
        async with asyncio.timeout(30):
            while self._looking.looks < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def replay_when(self, batch: str, is_reached: Callable[[Any], bool]) -> Any:
        """Wait until a replay meets a condition, and return it."""
        async with asyncio.timeout(30):
            while not is_reached(found := await self.get(f"replays/{batch}")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return found

    async def put(self, key: str, data: bytes = b"data") -> None:
        """Store an object as another program would."""
        await self.store.write([[Blob(key, data)]])

    async def apply(self, source: str = WORDS) -> None:
        await self.send_config(source)

    async def run(
        self, files: Mapping[str, bytes], *, tags: tuple[str, ...] = (), config: str = "words"
    ) -> str:
        """Run files to completion and return the execution's id."""
        execution = await self.submit(files, tags=tags, config=config)
        await self.work()
        return execution

    async def submit(
        self, files: Mapping[str, bytes], *, tags: tuple[str, ...] = (), config: str = "words"
    ) -> str:
        """Start a run and return the execution's id."""
        answer = await self.http.post(
            f"/api/v1/configs/{config}/run",
            files=[("files", (name, data)) for name, data in files.items()],
            data={"tags": list(tags)},
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["execution_id"])


P = TypeVar("P", bound=Playhead)


@asynccontextmanager
async def open_playhead(
    home: Path, kind: Callable[[Runtime, Memory], P], **settings: Any
) -> AsyncIterator[P]:
    """Open a process whose loops do not run: tests repeat what a loop does when they need it."""
    memory = Memory()
    given = Settings(
        home=home,
        max_object_bytes=MAX_UPLOAD,
        max_replay_objects=1_000,
        webhook_hosts=("hooks.example",),
        webhook_secret=("whsec_" + "A" * 32,),
        **settings,
    )
    backends = Backends(cast(Any, memory.store), cast(Any, memory.broker), memory.catalog)
    async with open_runtime(given, kind="serve", backends=backends, adapters=_specs()) as rt:
        for loop in rt._loops:
            loop.cancel()
        made = kind(rt, memory)
        yield made
        memory.catalog_outage.error = None  # so that the process can deregister itself
        await made.http.aclose()
