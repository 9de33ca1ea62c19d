"""The methods of a client about executions: list, start, wait for, cancel, compare, keep and prune them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from typing import get_args
from uuid import UUID

from playhead.client.connection import Connection, Name, warn
from playhead.ids import now
from playhead.model import (
    Compare,
    Diff,
    DiffBy,
    DiffFilter,
    DiffObject,
    Execution,
    Kind,
    Pipeline,
    Pruned,
    PruneFilter,
    RouteCode,
    RouteCounts,
    StageSummary,
    StageTotals,
    Status,
)
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.times import fixed_times


class ExecutionMethods(Connection):
    """See `AsyncClient`."""

    async def executions(
        self,
        *,
        kind: Kind | None = None,
        status: Status | None = None,
        config: str | None = None,
        tag: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int | None = None,
    ) -> list[Execution]:
        """Return runs, replays and adopted executions, newest first.

        `since` and `until` select those that were created in a period. Each is RFC 3339 with an offset, or
        the time before now, as in `-24h` or `-7d`.

        Raises:
            ValueError: a value is unknown, or is not a time.
        """
        for name, value, known in (("kind", kind, Kind), ("status", status, Status)):
            if value is not None and value not in get_args(known):
                raise ValueError(f"{name} {value!r} is unknown; it is one of {', '.join(get_args(known))}")
        times = fixed_times(now(), since=since, until=until)
        where = ExecutionFilter(status, config, kind, tag, None, times["since"], times["until"])
        return await self._collect(partial(self._services.executions.list, where), limit)

    async def runs(
        self,
        *,
        status: Status | None = None,
        config: str | None = None,
        tag: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int | None = None,
    ) -> list[Execution]:
        """Return runs, newest first. The arguments are those of `executions`."""
        return await self.executions(
            kind="run", status=status, config=config, tag=tag, since=since, until=until, limit=limit
        )

    async def execution(self, name: Name = "latest") -> Execution:
        """Return one execution with its message counts."""
        return await self._services.executions.get(await self._execution(name))

    async def routes(self, execution: Name = "latest") -> list[RouteCounts]:
        """Return the message counts of each route."""
        return await self._services.executions.route_counts(await self._execution(execution))

    async def pipeline(
        self, of: Name = "latest", *, config: str | None = None, version: int | None = None
    ) -> Pipeline:
        """Return the routes of a pipeline, with what each sends to which.

        Args:
            of: an execution: each route has the counts of its messages.
            config: the name of a config, instead of an execution.
            version: of the config; None: the newest.
        """
        if config is not None:
            return await self._services.pipelines.of_config(config, version)
        return await self._services.pipelines.of_execution(await self._execution(of))

    async def code(self, execution: Name = "latest") -> list[RouteCode]:
        """Return the code that the adapters of each route ran."""
        return await self._services.executions.code(await self._execution(execution))

    async def stages(self, execution: Name = "latest") -> list[StageSummary]:
        """Return the stages with the number and size of their objects. This lists the store."""
        return await self._services.executions.stages(await self._execution(execution))

    async def totals(self, execution: Name = "latest") -> StageTotals:
        """Return the number and size of the objects of all stages, from the catalog."""
        return await self._services.executions.stage_totals(await self._execution(execution))

    async def run(
        self,
        config: str,
        inputs: Mapping[str, bytes | str] | Iterable[tuple[str, bytes | str]],
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
        changed_since: Name | None = None,
        compare: Compare = "code",
        reuse: bool = False,
        require_code: bool = False,
    ) -> Execution:
        """Start a run, and return it when its inputs are stored. Workers process them; `wait` waits for them.

        Args:
            config: the name of a config.
            inputs: the paths of the inputs in the stage `input`, with their bytes or text.
            version: the version of the config; None: the newest.
            tags: to find the run later.
            changed_since: an earlier run, whose results are taken over where they are valid; `previous`: the
                newest run of the config that has processed all of its inputs.
            compare: the adapters must have had the same `code`, or only the same `version`.
            reuse: take over the results of earlier executions of this config for items that are the same,
                whatever their paths; `changed_since` does this in any case.
            require_code: raise an error if workers have outdated or different code, instead of warning.
        """
        pairs = inputs.items() if isinstance(inputs, Mapping) else inputs

        async def read() -> AsyncIterator[tuple[str, bytes]]:
            for path, data in pairs:
                yield path, data.encode() if isinstance(data, str) else data

        earlier = self._services.resolve.earlier_run
        return await self._services.submit.run(
            config,
            read(),
            version=version,
            tags=tags,
            require_code=require_code,
            changed_since=None if changed_since is None else await earlier(str(changed_since), config),
            compare=compare,
            reuse=reuse,
            warn=warn,
        )

    async def wait(self, execution: Name = "latest", *, timeout: float | None = None) -> Execution:
        """Return an execution when it has ended. Workers must process it.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds.
        """
        identity = await self._execution(execution)
        last: Execution | None = None
        try:
            async with asyncio.timeout(timeout):
                async for state in (await self._services.watch.execution(identity)).states():
                    last = state
                return await self._services.executions.get(identity)
        except TimeoutError:
            done = f"{last.counts.total - last.counts.pending:,} of {last.counts.total:,}" if last else "no"
            raise TimeoutError(
                f"execution {identity} has not ended after {timeout:g} s: {done} messages are done; it "
                "continues if workers run"
            ) from None

    async def cancel_execution(self, execution: Name) -> Execution:
        """Cancel a running execution: no message starts afterwards."""
        return await self._services.recover.cancel(await self._execution(execution))

    async def pin(self, execution: Name) -> Execution:
        """Protect the objects of an execution from every prune."""
        return await self._services.prune.pin(await self._execution(execution))

    async def unpin(self, execution: Name) -> Execution:
        """End the protection of an execution."""
        return await self._services.prune.pin(await self._execution(execution), False)

    async def prune(
        self,
        executions: Name | Sequence[Name] = (),
        *,
        config: str | None = None,
        tag: str | None = None,
        older_than_seconds: float | None = None,
        keep_last: int = 0,
        stages: Sequence[str] = (),
        records: bool = False,
        dry_run: bool = False,
    ) -> Pruned:
        """Delete the objects of executions that have ended, or their records.

        Args:
            executions: only these.
            config: only executions of this config.
            tag: only executions with this tag.
            older_than_seconds: only executions that ended at least this long ago.
            keep_last: leave out this number of newest runs and replays, and of newest completed ones, of each
                config.
            stages: only the objects of these stages; empty: of all.
            records: delete the records of executions whose objects are all deleted, instead of objects.
            dry_run: delete nothing; return what would be deleted.
        """
        named = [executions] if isinstance(executions, str | UUID) else executions
        where = PruneFilter(
            [await self._execution(name) for name in named] or None,
            config=config,
            tag=tag,
            older_than_seconds=older_than_seconds,
            keep_last=keep_last,
            stages=list(stages) or None,
            records=records,
        )
        service = self._services.prune
        return await (service.plan(where) if dry_run else service.prune(where))

    async def diff(
        self, a: Name, b: Name, stage: str | None = None, path: str | None = None, *, by: DiffBy = "path"
    ) -> Diff:
        """Return how many outputs of two executions are the same, changed, added or missing.

        Args:
            a: the first execution, for example the source of a replay.
            b: the second execution, for example the replay.
            stage: the stage; None: all stages.
            path: a folder or an object in the stage; None: the whole stage.
            by: `content`: pair the parts of a document by their content first.
        """
        first, second = await self._execution(a), await self._execution(b)
        return await self._services.diff.summary(first, second, stage, path, by)

    async def differences(
        self,
        a: Name,
        b: Name,
        stage: str | None = None,
        path: str | None = None,
        *,
        state: DiffFilter | None = "different",
        by: DiffBy = "path",
        limit: int | None = None,
    ) -> list[DiffObject]:
        """Return the outputs of two executions that are changed, added or missing, by stage and path.

        Args:
            a: the first execution.
            b: the second execution.
            stage: the stage; None: all stages.
            path: a folder or an object in the stage; None: the whole stage.
            state: only outputs in this state; None: in any state.
            by: as in `diff`.
            limit: the largest number of outputs; None: all.
        """
        first, second = await self._execution(a), await self._execution(b)
        return await self._collect(
            lambda cursor, count: self._services.diff.objects(
                first, second, stage, state, path, cursor, count, by=by
            ),
            limit,
        )
