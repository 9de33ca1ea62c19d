"""Start a run: store its inputs, then seal them. Nothing is published before they are sealed.

A run may take over results of an earlier one. `replay.reuse` decides which routes it may take over. The
catalog does the rest, and the module that does it explains why a `kill -9` is harmless.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from playhead import faults, ids
from playhead.environment import Environment
from playhead.errors import BadRequest, Conflict, NotFound, PlayheadError, TooLarge, Unavailable
from playhead.keys import INPUT_STAGE, check_path, content_type_of, object_key, sidecar_key
from playhead.limits import InvalidValue
from playhead.model import Compare, Execution
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Configs, Jobs, Runs
from playhead.ports.catalog.browse import Browse, ExecutionFilter
from playhead.ports.catalog.code import Code
from playhead.ports.catalog.configs import Loaded
from playhead.ports.catalog.declarations import Declarations
from playhead.ports.catalog.runs import Input, Reusable, Unread
from playhead.ports.inputs import Content, File, read
from playhead.ports.store import Blob, Delete, Write
from playhead.reading.codecheck import CodeCheck, Warn, no_warning
from playhead.replay.reuse import Earlier, index, of_code, reusable, reusable_items
from playhead.replay.target import config_not_found
from playhead.work import sidecar

MAX_UPLOAD_FILES: Final = 10_000
"""Files of a run that is uploaded over HTTP."""
MAX_TAGS: Final = 100
MAX_TAG_CHARACTERS: Final = 200
TAG: Final = r"^[^\x00-\x1f\x7f]*$"
"""The form of a tag: no control characters."""

_FIRST_DELAY_SECONDS = 1.0
_LONGEST_DELAY_SECONDS = 5.0
_LATE_SECONDS = 120.0
"""How long a run is looked for whose creation was not answered. A COMMIT that no client waits for is seldom
delayed by as much."""
_MOST_REPLAYS = 20
"""Replays of the earlier run whose results may be taken over, and as many of publications: the newest."""
_BATCH_OBJECTS = 256
_BATCH_BYTES = 16 << 20

_Read = list[tuple[Input, bytes]]


class _Batch(NamedTuple):
    """Inputs that were read, and files that need no reading if the earlier run has them."""

    read: _Read
    unread: Sequence[tuple[str, File]]


def check_tags(tags: Sequence[str]) -> None:
    """Raise `InvalidValue` for tags that a run cannot have."""
    for tag in tags:
        if not (1 <= len(tag) <= MAX_TAG_CHARACTERS and re.fullmatch(TAG, tag)):
            why = f"a tag has 1 to {MAX_TAG_CHARACTERS} characters, and no control characters"
            raise InvalidValue("tags", f"{tag[:MAX_TAG_CHARACTERS]!r}: {why}")
    if len(tags) > MAX_TAGS:
        raise InvalidValue("tags", f"{len(tags)} tags; a run has at most {MAX_TAGS}")


class SubmitCatalog(Browse, Code, Configs, Declarations, Jobs, Runs, Protocol): ...


class SubmitStore(Delete, Write, Protocol): ...


class SubmitService:
    """Starts runs.

    Args:
        lease: seconds for which an upload may continue after its process was last alive. A run whose
            process dies before the inputs are sealed fails as `upload_incomplete`.
        sealed: called with each execution whose job may be driven from now on.
        code: compares the code of the workers; None: it is not compared.
        adapters: those of this process. A run takes over what their code has produced.
    """

    def __init__(
        self,
        catalog: SubmitCatalog,
        store: SubmitStore,
        env: Environment,
        *,
        lease: float,
        max_object_bytes: int,
        sealed: Callable[[UUID], None],
        code: CodeCheck | None = None,
        adapters: Mapping[str, AdapterSpec] | None = None,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._env = env
        self._lease = lease
        self.max_object_bytes = max_object_bytes
        self._sealed = sealed
        self._code = code
        self._adapters = adapters or {}

    async def run(
        self,
        config: str,
        inputs: AsyncIterable[tuple[str, Content]],
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
        require_code: bool = False,
        changed_since: UUID | None = None,
        compare: Compare = "code",
        reuse: bool = False,
        warn: Warn = no_warning,
        indexed: Callable[[int], None] = lambda count: None,
    ) -> Execution:
        """Store the inputs (path, content) under `input` and seal them. Workers process them afterwards.

        `warn` is called with warnings about the code of the workers. With `require_code`, outdated or
        different code is an error. With `changed_since`, results of that run are taken over where they are
        valid, and its objects are not stored again. `compare` decides whether its adapters must have had the
        same code, or only the same version. `warn` is also called with the reason of each route from which
        results are not taken over. With `reuse` or `changed_since`, results of any earlier execution of the
        config are taken over for items that are the same. They are indexed first, unless nothing has changed:
        `indexed` is called with their number so far.

        Raises:
            NotFound: `config_not_found`, `execution_not_found`, `records_deleted`.
            Conflict: `config_inactive`, `code_differs`, `execution_pruned` for `changed_since`, or
                `execution_ended` if it was cancelled meanwhile.
            BadRequest: `invalid_path`, `not_comparable`, `selection_empty` if there is no input.
            Unavailable: nothing was published; the execution fails as `upload_incomplete` or is cancelled.
        """
        loaded = await self.check_config(config, version)
        if self._code:
            entry = loaded.config.entry
            for warning in await self._code.check(loaded.config, entry, required=require_code):
                warn(warning)
        found: Reusable | None = None
        is_complete = False
        if changed_since:
            found, is_complete = await self._since(loaded, changed_since, compare, warn)
        elif reuse:
            found = reusable_items(loaded.config, self._adapters, warn)
        if found and not is_complete:
            await index(self._catalog, config, found, indexed)
        # Faults in the first inputs (usually these are all) are reported before anything is recorded.
        batches = self._batches(inputs)
        first = await anext(batches, None)
        if first is None:
            raise BadRequest("selection_empty", "there is no input: a run needs at least one file")
        ids.follow(await self._catalog.newest_execution())
        identity = ids.uuid7()
        execution: Execution | None = None
        written: list[str] = []
        try:
            execution = await self._catalog.open_run(
                identity,
                config,
                loaded.version.version,
                tags=list(dict.fromkeys(tags)),
                owner=self._env.process,
                lease=self._lease,
                traceparent=self._env.tracer.current(),
                reuse=found,
            )
            is_unchanged = await self._store_batch(execution, first, written)
            async for batch in batches:
                is_unchanged &= await self._store_batch(execution, batch, written)
            if found and is_complete and not is_unchanged:
                await index(self._catalog, config, found, indexed)
            if not await self._catalog.seal(identity):
                raise Conflict("execution_ended", f"execution {identity} ended before its inputs were stored")
        except BaseException as exc:
            if execution is None and isinstance(exc, PlayheadError) and not isinstance(exc, Unavailable):
                raise  # nothing was recorded
            # Whatever the fault, also one of the source of the inputs: no other process ends the execution
            # while this one lives.
            if not await self._is_over(identity, written):
                self._env.spawn(self._give_up(identity, written))
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
            raise config_not_found(config, version)
        if not loaded.version.active:
            raise Conflict(
                "config_inactive",
                f"config {config!r} is deactivated. Run: playhead config activate {config}",
            )
        return loaded

    async def _since(
        self, loaded: Loaded, changed_since: UUID, compare: Compare, warn: Warn
    ) -> tuple[Reusable, bool]:
        """Return what may be taken over from an earlier run, and from replays of it, and whether that run has
        valid results for all of its inputs."""
        earlier = await self._catalog.execution(changed_since)
        if earlier is None:
            raise NotFound(
                "execution_not_found", f"there is no execution {changed_since}. Run: playhead executions"
            )
        name = loaded.version.name
        if earlier.kind != "run" or earlier.config != name:
            what = f"a {earlier.kind} of config {earlier.config!r}" if earlier.config else "adopted"
            raise BadRequest(
                "not_comparable",
                f"execution {changed_since} is {what}. Name a run of config {name!r}, or previous:{name}",
            )
        where = ExecutionFilter(kind="replay", config=name, parent=changed_since)
        replays, _ = await self._catalog.executions(where, limit=_MOST_REPLAYS)
        replays += await self._catalog.replays_of_publications(name, limit=_MOST_REPLAYS)
        declared = of_code(await self._catalog.declarations(name), loaded.config, self._adapters, compare)
        others = {one.execution_id for one in declared} - {one.execution_id for one in replays}
        replays += await self._catalog.executions_named(list(others))
        found = []
        for execution in (earlier, *replays):
            theirs = await self._catalog.config(name, execution.config_version)
            assert theirs, "versions are never deleted"
            ran = await self._catalog.code_of(execution.execution_id)
            found.append(Earlier(execution, theirs.config, ran))
        reuse, reasons, is_complete = reusable(
            loaded.config, found[0], found[1:], self._adapters, compare, declared
        )
        for reason in reasons:
            warn(reason)
        return reuse, is_complete

    async def _give_up(self, execution: UUID, written: Sequence[str]) -> None:
        """Cancel an execution as soon as the catalog is available and contains it.

        Looks for one that does not appear for at most two minutes. If this process ends before that, the
        reconciler of another process ends the execution.
        """
        delay, looked = _FIRST_DELAY_SECONDS, 0.0
        while looked < _LATE_SECONDS:
            await self._env.sleep(delay)
            is_over = await self._is_over(execution, written)
            if is_over:
                return
            if is_over is False:
                looked += delay
            delay = min(delay * 2, _LONGEST_DELAY_SECONDS)

    async def _is_over(self, execution: UUID, written: Sequence[str]) -> bool | None:
        """Cancel an execution that is not sealed, or whose seal was not answered.

        Returns False if the catalog does not contain it, though its transaction may still commit. Returns
        None if a backend is unavailable.

        Args:
            written: the inputs of the last batch. If this process was suspended for long, another one may
                have ended and pruned the execution before they were written. No prune finds them then.
        """
        try:
            try:
                if await self._catalog.cancel(execution, action="run.start") is None:
                    return False
            except Conflict:
                pass  # it has ended
            found = await self._catalog.execution(execution)
            if found and any(one.overlaps(INPUT_STAGE) for one in found.pruned):
                await self._store.delete([key for one in written for key in (one, sidecar_key(one))])
        except Unavailable:
            return None
        return True

    async def _batches(self, inputs: AsyncIterable[tuple[str, Content]]) -> AsyncIterator[_Batch]:
        batch: list[tuple[str, Content]] = []
        size = 0
        async for path, content in inputs:
            check_path(path, "input")
            size += self._checked(path, len(content) if isinstance(content, bytes) else content.size)
            batch.append((path, content))
            if len(batch) >= _BATCH_OBJECTS or size >= _BATCH_BYTES:
                yield await self._batch(batch)
                batch, size = [], 0
        if batch:
            yield await self._batch(batch)

    async def _batch(self, inputs: Sequence[tuple[str, Content]]) -> _Batch:
        unread, rest = list[tuple[str, File]](), list[tuple[str, Content]]()
        for path, content in inputs:
            if isinstance(content, File) and content.is_trusted and content.stamp:
                unread.append((path, content))
            else:
                rest.append((path, content))
        return _Batch(await self._read(rest), unread)

    async def _read(self, inputs: Sequence[tuple[str, Content]]) -> _Read:
        found: _Read = []
        for (path, content), data in zip(inputs, await read([one for _, one in inputs]), strict=True):
            size = self._checked(path, len(data))  # a file may have grown
            stamp = None if isinstance(content, bytes) else content.stamp
            found.append((Input(path, size, sha256(data).digest(), content_type_of(path), stamp), data))
        return found

    def _checked(self, path: str, size: int) -> int:
        """Return the size of an input. Raises `TooLarge`."""
        if size > self.max_object_bytes:
            raise TooLarge(
                f"input {path!r} has {size} bytes; at most {self.max_object_bytes} are allowed "
                "(PLAYHEAD_MAX_OBJECT_BYTES)"
            )
        return size

    async def _store_batch(self, execution: Execution, batch: _Batch, written: list[str]) -> bool:
        """Store the inputs that the earlier run has not stored; return True if it has stored all of them.

        `written` becomes the keys of the inputs to store as soon as some of them may exist.
        """
        identity = execution.execution_id
        owner = str(identity)
        takes_over = execution.changed_since is not None
        inputs, unread = batch
        if unread and takes_over:
            files = [Unread(path, one.size, one.stamp or "") for path, one in unread]
            known = await self._catalog.refer_inputs(identity, files)
            unread = [one for one in unread if object_key(owner, INPUT_STAGE, one[0]) not in known]
        if unread:
            inputs = [*inputs, *await self._read(unread)]
        # Bound first, like outputs. Until they are sealed, no listing and no replay contains them.
        new = [given for given, _ in inputs]
        referred = set[str]()
        if new:
            referred = await self._catalog.bind_inputs(identity, new, takes_over=takes_over)
        now = ids.now()
        groups = []
        written.clear()
        for given, data in inputs:
            key = object_key(owner, INPUT_STAGE, given.path)
            if key in referred:
                continue
            written.append(key)
            groups.append([sidecar.of_input(execution, key, given, now), Blob(key, data, given.content_type)])
        for refusal in await self._store.write(groups):
            if isinstance(refusal, Unavailable):
                raise refusal
            if refusal is not None:
                raise BadRequest("invalid_path", refusal.detail)
        faults.reach("submit.stored", len(batch.read) + len(batch.unread))
        return not written
