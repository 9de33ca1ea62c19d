"""Start a run: store its inputs, then seal them. Nothing is published before the seal."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from playhead import faults, ids
from playhead.engine import sidecar
from playhead.engine.relay import Sleep
from playhead.errors import BadRequest, Conflict, NotFound, PlayheadError, TooLarge, Unavailable
from playhead.keys import INPUT_STAGE, check_path, content_type_of, object_key
from playhead.model import Execution
from playhead.ports.catalog import Configs, Jobs
from playhead.ports.catalog.configs import Loaded
from playhead.ports.catalog.jobs import Input
from playhead.ports.store import Blob, Write
from playhead.ports.tracer import OFF, Tracer

MAX_UPLOAD_FILES: Final = 10_000
"""Files of a run that is sent over HTTP."""
MAX_TAGS: Final = 100
MAX_TAG_CHARACTERS: Final = 200
TAG: Final = r"^[^\x00-\x1f\x7f]*$"
"""What a tag is made of: no control characters."""

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 5.0
_LATE_SECONDS = 120.0
"""For so long an execution is looked for whose beginning was not heard of. A COMMIT is seldom under way for
as long as that when nobody waits for it."""
_BATCH_OBJECTS = 256
_BATCH_BYTES = 16 << 20

_Batch = list[tuple[Input, bytes]]


class SubmitCatalog(Configs, Jobs, Protocol): ...


class SubmitService:
    """Starts runs.

    Args:
        owner: this process; a run whose owner dies before the seal fails as `upload_incomplete`.
        lease: seconds that an upload may go on after its owner was last seen.
        sealed: told each execution whose job may be worked from now on.
        spawn: starts a coroutine that outlives its caller.
        tracer: knows the span that a run is made under.
    """

    def __init__(
        self,
        catalog: SubmitCatalog,
        store: Write,
        *,
        owner: str,
        lease: float,
        max_object_bytes: int,
        sealed: Callable[[UUID], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = ids.now,
        tracer: Tracer = OFF,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._owner = owner
        self._lease = lease
        self.max_object_bytes = max_object_bytes
        self._sealed = sealed
        self._spawn = spawn
        self._sleep = sleep
        self._clock = clock
        self._tracer = tracer

    async def run(
        self,
        config: str,
        inputs: AsyncIterable[tuple[str, bytes]],
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
    ) -> Execution:
        """Store the inputs (path, bytes) under `input` and seal them; workers do the rest.

        Raises:
            NotFound: `config_not_found`.
            Conflict: `config_inactive`, or `execution_ended` when it was cancelled meanwhile.
            BadRequest: `invalid_path`, `selection_empty` when there is no input at all.
            Unavailable: nothing was published; the execution fails as `upload_incomplete` or is cancelled.
        """
        loaded = await self.check_config(config, version)
        # What is wrong with the first inputs, and mostly they are all, is told before anything is begun.
        batches = self._batches(inputs)
        first = await anext(batches, None)
        if first is None:
            raise BadRequest("selection_empty", "there is no input: a run needs at least one file")
        identity = ids.uuid7()
        execution: Execution | None = None
        try:
            execution = await self._catalog.open_run(
                identity,
                config,
                loaded.version.version,
                tags=list(dict.fromkeys(tags)),
                owner=self._owner,
                lease=self._lease,
                traceparent=self._tracer.current(),
            )
            await self._store_batch(execution, first)
            async for batch in batches:
                await self._store_batch(execution, batch)
            if not await self._catalog.seal(identity):
                raise Conflict("execution_ended", f"execution {identity} ended before its inputs were stored")
        except BaseException as exc:
            if execution is None and isinstance(exc, PlayheadError) and not isinstance(exc, Unavailable):
                raise  # nothing was begun
            # Whatever stopped it, also a fault of who gives the inputs: while this process lives, nobody
            # else would end the execution.
            if not await self._given_up(identity):
                self._spawn(self._give_up(identity))
            raise
        faults.reach("submit.sealed")
        self._sealed(identity)
        return execution

    async def check_config(self, config: str, version: int | None = None) -> Loaded:
        """Return the version of a config that a run would use now; the newest if none is named.

        Raises:
            NotFound: `config_not_found`.
            Conflict: `config_inactive`.
        """
        loaded = await self._catalog.config(config, version)
        if loaded is None:
            what = f"config {config!r}" + (f" has no version {version}" if version else " does not exist")
            raise NotFound("config_not_found", f"{what}: `playhead config list` shows what there is")
        if not loaded.version.active:
            raise Conflict(
                "config_inactive", f"config {config!r} is deactivated: `playhead config activate {config}`"
            )
        return loaded

    async def _give_up(self, execution: UUID) -> None:
        """Cancel an execution as soon as the catalog is back and has it; one that does not come to be is
        looked for no longer than two minutes. Should this process end before that, the reconciler of
        another ends it."""
        pause, looked = _FIRST_PAUSE_SECONDS, 0.0
        while looked < _LATE_SECONDS:
            await self._sleep(pause)
            given_up = await self._given_up(execution)
            if given_up:
                return
            if given_up is False:
                looked += pause
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _given_up(self, execution: UUID) -> bool | None:
        """Cancel what will not be sealed, or was and nobody heard it.

        False when there is no such execution, which may be on its way still; None when the catalog is away.
        """
        try:
            return await self._catalog.cancel(execution) is not None
        except Unavailable:
            return None
        except PlayheadError:
            return True  # it has ended

    async def _batches(self, inputs: AsyncIterable[tuple[str, bytes]]) -> AsyncIterator[_Batch]:
        batch: _Batch = []
        size = 0
        async for path, data in inputs:
            check_path(path, "input")
            if len(data) > self.max_object_bytes:
                raise TooLarge(
                    f"input {path!r} has {len(data)} bytes; at most {self.max_object_bytes} are allowed "
                    "(PLAYHEAD_MAX_OBJECT_BYTES)"
                )
            given = Input(path, len(data), hashlib.sha256(data).digest(), content_type_of(path))
            batch.append((given, data))
            size += len(data)
            if len(batch) >= _BATCH_OBJECTS or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    async def _store_batch(self, execution: Execution, batch: _Batch) -> None:
        # Bound first, as outputs are: until the seal they are in no list and no replay.
        await self._catalog.bind_inputs(execution.execution_id, [given for given, _ in batch])
        now = self._clock()
        groups = []
        for given, data in batch:
            key = object_key(execution.execution_id, INPUT_STAGE, given.path)
            groups.append([sidecar.of_input(execution, key, given, now), Blob(key, data, given.content_type)])
        for conflict in await self._store.write(groups):
            if isinstance(conflict, Unavailable):
                raise conflict
            if conflict is not None:
                raise BadRequest("invalid_path", conflict.detail)
        faults.reach("submit.stored", len(batch))
