"""`playhead.connect()`: the data of a deployment for notebooks and scripts.

The methods block. They run on an event loop in a thread of their own, so they also work where a loop already
runs, as in Jupyter.
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import AsyncExitStack
from functools import partial
from os import PathLike, fspath
from typing import Any, get_args
from uuid import UUID

from playhead.bootstrap import open_runtime
from playhead.client.dead_letters import DeadLetterMethods
from playhead.client.loop import BackgroundLoop
from playhead.client.replays import Name
from playhead.ids import now
from playhead.model import (
    ChainLink,
    Diff,
    DiffFilter,
    DiffObject,
    Execution,
    Found,
    Kind,
    Lineage,
    Page,
    Replay,
    RouteCounts,
    RowState,
    SearchHit,
    StageSummary,
    Status,
    StoredObject,
    Why,
)
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.remote import RemoteServices, open_server
from playhead.replay.selection import fixed_times
from playhead.services import Services
from playhead.services.lineage import Direction
from playhead.services.resolve import is_id
from playhead.settings import Settings, load_settings

_WAIT_SECONDS = 0.2
_BACKENDS = ("home", "store", "broker", "catalog")


def connect(home: str | PathLike[str] | None = None, *, server: str | None = None, **settings: Any) -> Client:
    """Connect to a deployment.

    Without arguments, this uses the same settings as the command line: the environment, then `playhead.toml`.
    So in a folder below a home, `connect()` reads this home.

    Args:
        home: folder of a home.
        server: address of a server, `http://HOST:PORT`; its backends are used.
        settings: further settings by name, such as `store` and `catalog`.

    Raises:
        PlayheadError: `home_missing`, `setup_invalid`, `server_unavailable`, or the code of a backend that is
            unavailable.
    """
    flags = {"home": None if home is None else fspath(home), "server": server, **settings}
    if server is not None and any(flags.get(name) is not None for name in _BACKENDS):
        raise TypeError("server cannot be combined with home, store, broker or catalog")
    found = load_settings(**flags)
    if any(flags.get(name) is not None for name in _BACKENDS):
        found = found.model_copy(update={"server": None})
    return Client(found)


class Client(DeadLetterMethods):
    """The data of a deployment. Create it with `connect`, and close it, or use it in a `with` block.

    The methods return the values of the HTTP API, as frozen dataclasses. They raise `PlayheadError`, whose
    `code` is the `error_code` of the HTTP API. Lists are complete unless `limit` is given. An argument
    `execution` accepts every name of an execution. Several threads may use one client.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = BackgroundLoop()
        self._stack = AsyncExitStack()
        try:
            self._services = self._loop.run(self._open())
        except BaseException:
            self._loop.close(self._stack)
            raise
        self._finalizer = weakref.finalize(self, self._loop.close_soon, self._stack)

    async def _open(self) -> Services | RemoteServices:
        if self._settings.server is not None:
            server = await self._stack.enter_async_context(open_server(self._settings.server))
            await server.system.health("")  # so that a wrong address is an error of `connect`
            return server
        runtime = open_runtime(self._settings, creates_home=False)
        return (await self._stack.enter_async_context(runtime)).services

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self._settings.server or self._settings.catalog or self._settings.home
        return f"<playhead.Client of {where}>"

    def close(self) -> None:
        """Close the connections. May be called twice."""
        if self._finalizer.detach():
            self._loop.close(self._stack)

    # -- executions --------------------------------------------------------------------------------

    def executions(
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
        return self._loop.collect(partial(self._services.executions.list, where), limit)

    def runs(
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
        return self.executions(
            kind="run", status=status, config=config, tag=tag, since=since, until=until, limit=limit
        )

    def replays(
        self, source: Name | None = None, *, is_open: bool = False, limit: int | None = None
    ) -> list[Replay]:
        """Return replays, newest first.

        Args:
            source: only those of this execution.
            is_open: only those whose publishing has not ended.
            limit: at most this number.
        """
        of = None if source is None else self._execution(source)
        return self._loop.collect(partial(self._services.executions.replays, of, is_open=is_open), limit)

    def execution(self, name: Name = "latest") -> Execution:
        """Return one execution with its message counts."""
        return self._loop.run(self._services.executions.get(self._execution(name)))

    def routes(self, execution: Name = "latest") -> list[RouteCounts]:
        """Return the message counts of each route."""
        return self._loop.run(self._services.executions.route_counts(self._execution(execution)))

    def stages(self, execution: Name = "latest") -> list[StageSummary]:
        """Return the stages with the number and size of their objects."""
        return self._loop.run(self._services.executions.stages(self._execution(execution)))

    def wait(self, execution: Name = "latest", *, timeout: float | None = None) -> Execution:
        """Return an execution when it has ended. Workers must process it.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds.
        """
        identity = self._execution(execution)

        async def ended() -> Execution:
            last: Execution | None = None
            try:
                async with asyncio.timeout(timeout):
                    while True:
                        last = await self._services.executions.get(identity)
                        if last.status != "running":
                            return last
                        await asyncio.sleep(_WAIT_SECONDS)
            except TimeoutError:
                done = (
                    f"{last.counts.total - last.counts.pending:,} of {last.counts.total:,}" if last else "no"
                )
                raise TimeoutError(
                    f"execution {identity} has not ended after {timeout:g} s: {done} messages are done; it "
                    "continues if workers run"
                ) from None

        return self._loop.run(ended())

    # -- objects -----------------------------------------------------------------------------------

    def objects(
        self,
        execution: Name = "latest",
        stage: str | None = None,
        path: str | None = None,
        *,
        limit: int | None = None,
    ) -> list[StoredObject]:
        """Return the objects that a replay of this stage and path would select, by key.

        Args:
            execution: the execution.
            stage: the stage; None: all stages.
            path: a folder or an object in the stage; None: the whole stage.
            limit: the largest number of objects; None: all.
        """
        identity = self._execution(execution)
        return self._loop.collect(partial(self._services.objects.list, identity, stage, path), limit)

    def read(self, key: str | StoredObject) -> bytes:
        """Return the bytes of an object. A key may begin with a name such as `latest`."""

        async def content() -> bytes:
            found = await self._services.objects.content(await self._key(key))
            return b"".join([chunk async for chunk in found.chunks])

        return self._loop.run(content())

    def read_text(self, key: str | StoredObject, encoding: str = "utf-8") -> str:
        """Return the text of an object."""
        return self.read(key).decode(encoding)

    def search(
        self, index: str, words: str, execution: Name | None = None, *, limit: int = 10
    ) -> list[SearchHit]:
        """Search an index that a `sqlite_search` step filled; the best hits come first.

        Args:
            index: the `path` in the config of the step.
            words: separated by spaces; a hit has at least one of them.
            execution: the execution to search; None: the newest entries of each document.
            limit: the largest number of hits.
        """
        of = None if execution is None else self._execution(execution)
        return self._loop.run(self._services.search.search(index, words, of, limit))

    def find(self, text: str, *, limit: int = 20) -> list[Found]:
        """Find what a text names: an id or its end, a tag, a key, or a config, route, queue or stage."""
        return self._loop.run(self._services.find.find(text, limit))

    # -- messages ----------------------------------------------------------------------------------

    def messages(
        self, execution: Name = "latest", *, status: RowState | None = None, limit: int | None = None
    ) -> list[Lineage]:
        """Return the messages of an execution, newest first, each with its input and its outputs."""
        identity = self._execution(execution)

        async def page(cursor: str | None, count: int) -> Page[Lineage]:
            return await self._services.lineage.list(
                execution=identity, status=status, cursor=cursor, limit=count
            )

        return self._loop.collect(page, limit)

    def why(self, path: str, execution: Name = "latest", *, stage: str | None = None) -> Why:
        """Return what became of an item: its way through the routes, and where and why it ended.

        Args:
            path: the path of an input; or `STAGE/PATH` or the key of another object of the execution.
            execution: the execution. In a replay, the path may also be one in the execution that it replays.
            stage: the stage that contains the path; None: it is searched for.
        """
        return self._loop.run(self._services.why.explain(self._execution(execution), path, stage))

    def diff(self, a: Name, b: Name, stage: str | None = None, path: str | None = None) -> Diff:
        """Return how many outputs of two executions are the same, changed, added or missing.

        Args:
            a: the first execution, for example the source of a replay.
            b: the second execution, for example the replay.
            stage: the stage; None: all stages.
            path: a folder or an object in the stage; None: the whole stage.
        """
        return self._loop.run(
            self._services.diff.summary(self._execution(a), self._execution(b), stage, path)
        )

    def differences(
        self,
        a: Name,
        b: Name,
        stage: str | None = None,
        path: str | None = None,
        *,
        state: DiffFilter | None = "different",
        limit: int | None = None,
    ) -> list[DiffObject]:
        """Return the outputs of two executions that are changed, added or missing, by stage and path.

        Args:
            a: the first execution.
            b: the second execution.
            stage: the stage; None: all stages.
            path: a folder or an object in the stage; None: the whole stage.
            state: only outputs in this state; None: in any state.
            limit: the largest number of outputs; None: all.
        """
        first, second = self._execution(a), self._execution(b)
        return self._loop.collect(
            lambda cursor, count: self._services.diff.objects(
                first, second, stage, state, path, cursor, count
            ),
            limit,
        )

    def lineage(
        self,
        what: str | UUID | StoredObject,
        direction: Direction = "both",
        *,
        limit: int | None = None,
    ) -> list[ChainLink]:
        """Return the messages that led to an object or a message, and those that resulted from it.

        The messages are in the order of `distance`, also across replays. Earlier messages have a negative
        distance.

        Args:
            what: an object, its key, or the correlation id of a message.
            direction: `up` to the inputs, `down` to the results, or both.
            limit: the largest number of messages, the nearest ones; None: all.
        """
        services = self._services.lineage

        async def page(cursor: str | None, count: int) -> Page[ChainLink]:
            if isinstance(what, StoredObject) or (isinstance(what, str) and not is_id(what)):
                return await services.chain_of_object(await self._key(what), direction, cursor, count)
            message = await self._services.resolve.message(str(what))
            return await services.chain(message, direction, cursor, count)

        links = self._loop.collect(page, limit)
        return sorted(links, key=lambda link: (link.distance, link.correlation_id))

    # -- names -------------------------------------------------------------------------------------

    async def _key(self, key: str | StoredObject) -> str:
        return key.key if isinstance(key, StoredObject) else await self._services.resolve.key(key)
