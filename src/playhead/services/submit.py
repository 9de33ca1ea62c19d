"""Start a run: store its inputs, then seal them. Nothing is published before the seal."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Protocol
from uuid import UUID

from playhead import faults
from playhead.engine import sidecar
from playhead.errors import BadRequest, Conflict, NotFound, PlayheadError
from playhead.keys import INPUT_STAGE, check_path, content_type_of, object_key
from playhead.model import Execution
from playhead.ports.catalog import Configs, Jobs
from playhead.ports.catalog.jobs import Input
from playhead.ports.store import Blob, Store

_BATCH_OBJECTS = 256
_BATCH_BYTES = 16 << 20


class SubmitCatalog(Configs, Jobs, Protocol): ...


class SubmitService:
    """Starts runs.

    Args:
        owner: this process; a run whose owner dies before the seal fails as `upload_incomplete`.
        lease: seconds that an upload may go on after its owner was last seen.
        sealed: told each execution whose job may be worked from now on.
    """

    def __init__(
        self,
        catalog: SubmitCatalog,
        store: Store,
        *,
        owner: str,
        lease: float,
        max_object_bytes: int,
        sealed: Callable[[UUID], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._owner = owner
        self._lease = lease
        self._max_object_bytes = max_object_bytes
        self._sealed = sealed
        self._clock = clock

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
        loaded = await self._catalog.config(config, version)
        if loaded is None:
            what = f"config {config!r}" + (f" has no version {version}" if version else " does not exist")
            raise NotFound("config_not_found", f"{what}: `playhead config list` shows what there is")
        if not loaded.version.active:
            raise Conflict(
                "config_inactive", f"config {config!r} is deactivated: `playhead config activate {config}`"
            )
        execution = await self._catalog.open_run(
            config,
            loaded.version.version,
            tags=list(dict.fromkeys(tags)),
            owner=self._owner,
            lease=self._lease,
        )
        try:
            await self._upload(execution, inputs)
            if not await self._catalog.seal(execution.execution_id):
                raise Conflict(
                    "execution_ended",
                    f"execution {execution.execution_id} ended before its inputs were stored",
                )
        except BaseException:
            # Whatever stopped it, also a fault of who gives the inputs: while this process lives, nobody
            # else would end the execution.
            await self._give_up(execution)
            raise
        faults.reach("submit.sealed")
        self._sealed(execution.execution_id)
        return execution

    async def _give_up(self, execution: Execution) -> None:
        """Cancel what will never be sealed. Where even that fails, the reconciler ends it once this process
        is gone."""
        try:
            await self._catalog.cancel(execution.execution_id)
        except PlayheadError:
            return

    async def _upload(self, execution: Execution, inputs: AsyncIterable[tuple[str, bytes]]) -> None:
        batch: list[tuple[Input, bytes]] = []
        size = count = 0
        async for path, data in inputs:
            check_path(path, "input")
            if len(data) > self._max_object_bytes:
                raise BadRequest(
                    "invalid_body",
                    f"input {path!r} has {len(data)} bytes; at most {self._max_object_bytes} are allowed "
                    "(PLAYHEAD_MAX_OBJECT_BYTES)",
                )
            given = Input(path, len(data), hashlib.sha256(data).digest(), content_type_of(path))
            batch.append((given, data))
            size += len(data)
            count += 1
            if len(batch) >= _BATCH_OBJECTS or size >= _BATCH_BYTES:
                await self._store_batch(execution, batch)
                batch, size = [], 0
        if batch:
            await self._store_batch(execution, batch)
        if not count:
            raise BadRequest("selection_empty", "there is no input: a run needs at least one file")

    async def _store_batch(self, execution: Execution, batch: list[tuple[Input, bytes]]) -> None:
        # Bound first, as outputs are: until the seal they are in no list and no replay.
        await self._catalog.bind_inputs(execution.execution_id, [given for given, _ in batch])
        now = self._clock()
        groups = []
        for given, data in batch:
            key = object_key(execution.execution_id, INPUT_STAGE, given.path)
            groups.append([sidecar.of_input(execution, key, given, now), Blob(key, data, given.content_type)])
        for conflict in await self._store.write(groups):
            if conflict is not None:
                raise BadRequest("invalid_path", conflict.detail)
        faults.reach("submit.stored", len(batch))
