"""`playhead.connect()` and `playhead.AsyncClient`: the data of a deployment, for notebooks and services.

The methods of `Client` block. They run those of `AsyncClient` on an event loop in another thread, so they
also work where a loop already runs, as in Jupyter.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import update_wrapper
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from playhead import clientkeys
from playhead.addresses import server_address
from playhead.client.datasets import DatasetMethods
from playhead.client.deployment import DeploymentMethods
from playhead.client.executions import ExecutionMethods
from playhead.client.loop import BackgroundLoop
from playhead.client.messages import MessageMethods
from playhead.client.objects import ObjectMethods
from playhead.client.replays import ReplayMethods
from playhead.client.results import ResultMethods
from playhead.errors import CannotStart

if TYPE_CHECKING:
    from playhead.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

_BACKENDS = ("home", "store", "broker", "catalog")


class AsyncClient(
    ExecutionMethods,
    ObjectMethods,
    MessageMethods,
    ReplayMethods,
    ResultMethods,
    DatasetMethods,
    DeploymentMethods,
):
    """The data of a deployment, for code that runs on an event loop. Use it in an `async with` block.

    The arguments are those of `connect`. The methods return the values of the HTTP API, as frozen
    dataclasses. They raise `PlayheadError`, whose `code` is the `error_code` of the HTTP API. Lists are
    complete unless `limit` is given. An argument `execution` accepts every name of an execution.
    """

    def __init__(
        self,
        home: str | PathLike[str] | None = None,
        *,
        server: str | None = None,
        key: str | None = None,
        **settings: Any,
    ) -> None:
        place, found = _place(home, server, settings)
        secret = None if place is None else _secret(place, key, is_chosen=server is not None)
        super().__init__(place, found, secret)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def connect(
    home: str | PathLike[str] | None = None,
    *,
    server: str | None = None,
    key: str | None = None,
    **settings: Any,
) -> Client:
    """Connect to a deployment.

    Without arguments, this uses the same settings as the command line: the environment, then `playhead.toml`.
    So in a folder below a home, `connect()` reads this home.

    Args:
        home: folder of a home.
        server: address of a server, `http://HOST:PORT`; its backends are used.
        key: key for the server; None: that of PLAYHEAD_KEY, PLAYHEAD_KEY_FILE, PLAYHEAD_KEY_COMMAND or
            `playhead login`.
        settings: further settings by name, such as `store` and `catalog`.

    Raises:
        PlayheadError: `home_missing`, `setup_invalid`, `server_unavailable`, or the code of a backend that is
            unavailable.
    """
    return Client(AsyncClient(home, server=server, key=key, **settings))


def _place(
    home: str | PathLike[str] | None, server: str | None, settings: dict[str, Any]
) -> tuple[str | None, Settings | None]:
    """Return the address of the server, if any, and the settings of this process, unless it needs none."""
    if server is not None and home is None and not settings:
        try:
            return server_address(server), None
        except ValueError as exc:
            raise CannotStart("setup_invalid", f"server {server!r}: {exc}") from exc
    from playhead.settings import load_settings

    flags = {"home": None if home is None else fspath(home), "server": server, **settings}
    names_backend = any(flags.get(name) is not None for name in _BACKENDS)
    if server is not None and names_backend:
        raise TypeError("server cannot be combined with home, store, broker or catalog")
    found = load_settings(**flags)
    return None if names_backend else found.server, found


def _secret(server: str, key: str | None, *, is_chosen: bool) -> clientkeys.ClientKey | None:
    """Return the key for a server."""
    if key is None:
        is_named = is_chosen or clientkeys.is_server_of_environment()
        return clientkeys.key_for(server, is_chosen=is_named)
    given = clientkeys.ClientKey(key, "the argument key")
    clientkeys.check(given, server)
    return given


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self._client, *args, **kwargs))

    update_wrapper(call, method)
    return call


def _blocking_iterator(
    method: Callable[Concatenate[AsyncClient, P], AsyncIterator[T]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        values = method(self._client, *args, **kwargs)

        async def following() -> list[T]:
            async for value in values:
                return [value]
            return []

        while found := self._loop.run(following()):
            yield from found

    update_wrapper(call, method)
    return call


class Client:
    """The methods of `AsyncClient`, blocking. Create it with `connect`.

    Close it, or use it in a `with` block. Several threads may use one client.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._loop = BackgroundLoop()
        try:
            self._loop.run(client.open())
        except BaseException:
            self._loop.close(client.close)
            raise
        self._finalizer = weakref.finalize(self, self._loop.close_soon, client.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._client).replace("AsyncClient", "Client", 1)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        if self._finalizer.detach():
            self._loop.close(self._client.close)

    # executions
    executions = _blocking(AsyncClient.executions)
    runs = _blocking(AsyncClient.runs)
    execution = _blocking(AsyncClient.execution)
    routes = _blocking(AsyncClient.routes)
    pipeline = _blocking(AsyncClient.pipeline)
    code = _blocking(AsyncClient.code)
    stages = _blocking(AsyncClient.stages)
    totals = _blocking(AsyncClient.totals)
    run = _blocking(AsyncClient.run)
    wait = _blocking(AsyncClient.wait)
    cancel_execution = _blocking(AsyncClient.cancel_execution)
    pin = _blocking(AsyncClient.pin)
    unpin = _blocking(AsyncClient.unpin)
    prune = _blocking(AsyncClient.prune)
    diff = _blocking(AsyncClient.diff)
    differences = _blocking(AsyncClient.differences)
    # objects
    objects = _blocking(AsyncClient.objects)
    read = _blocking(AsyncClient.read)
    read_text = _blocking(AsyncClient.read_text)
    metadata = _blocking(AsyncClient.metadata)
    object_versions = _blocking(AsyncClient.object_versions)
    search = _blocking(AsyncClient.search)
    find = _blocking(AsyncClient.find)
    # messages
    messages = _blocking(AsyncClient.messages)
    why = _blocking(AsyncClient.why)
    lineage = _blocking(AsyncClient.lineage)
    lineage_summary = _blocking(AsyncClient.lineage_summary)
    lineage_counts = _blocking(AsyncClient.lineage_counts)
    dead_letters = _blocking(AsyncClient.dead_letters)
    dead_letter_groups = _blocking(AsyncClient.dead_letter_groups)
    plan_resend = _blocking(AsyncClient.plan_resend)
    pause_route = _blocking(AsyncClient.pause_route)
    resume_route = _blocking(AsyncClient.resume_route)
    affected = _blocking(AsyncClient.affected)
    causes = _blocking(AsyncClient.causes)
    cause = _blocking(AsyncClient.cause)
    cause_objects = _blocking(AsyncClient.cause_objects)
    plan_cause = _blocking(AsyncClient.plan_cause)
    acknowledge = _blocking(AsyncClient.acknowledge)
    unacknowledge = _blocking(AsyncClient.unacknowledge)
    resend = _blocking(AsyncClient.resend)
    dead_letter = _blocking(AsyncClient.dead_letter)
    # replays
    replay = _blocking(AsyncClient.replay)
    plan = _blocking(AsyncClient.plan)
    replay_plan = _blocking(AsyncClient.replay_plan)
    plans = _blocking(AsyncClient.plans)
    planned = _blocking(AsyncClient.planned)
    replays = _blocking(AsyncClient.replays)
    replay_state = _blocking(AsyncClient.replay_state)
    watch = _blocking_iterator(AsyncClient.watch)
    pause = _blocking(AsyncClient.pause)
    resume = _blocking(AsyncClient.resume)
    cancel = _blocking(AsyncClient.cancel)
    retry = _blocking(AsyncClient.retry)
    pace = _blocking(AsyncClient.pace)
    report = _blocking(AsyncClient.report)
    report_lines = _blocking(AsyncClient.report_lines)
    deliveries = _blocking(AsyncClient.deliveries)
    send_again = _blocking(AsyncClient.send_again)
    result = _blocking(AsyncClient.result)
    result_groups = _blocking(AsyncClient.result_groups)
    result_objects = _blocking(AsyncClient.result_objects)
    # datasets
    datasets = _blocking(AsyncClient.datasets)
    dataset = _blocking(AsyncClient.dataset)
    watch_dataset = _blocking_iterator(AsyncClient.watch_dataset)
    publish = _blocking(AsyncClient.publish)
    preview = _blocking(AsyncClient.preview)
    publications = _blocking(AsyncClient.publications)
    publication = _blocking(AsyncClient.publication)
    publication_notes = _blocking(AsyncClient.publication_notes)
    publication_code = _blocking(AsyncClient.publication_code)
    stale_results = _blocking(AsyncClient.stale_results)
    cancel_publication = _blocking(AsyncClient.cancel_publication)
    pin_publication = _blocking(AsyncClient.pin_publication)
    rollback = _blocking(AsyncClient.rollback)
    check_index = _blocking(AsyncClient.check_index)
    release = _blocking(AsyncClient.release)
    forget = _blocking(AsyncClient.forget)
    dataset_deliveries = _blocking(AsyncClient.dataset_deliveries)
    send_dataset_delivery = _blocking(AsyncClient.send_dataset_delivery)
    changes = _blocking(AsyncClient.changes)
    # the deployment
    apply = _blocking(AsyncClient.apply)
    validate = _blocking(AsyncClient.validate)
    configs = _blocking(AsyncClient.configs)
    config = _blocking(AsyncClient.config)
    versions = _blocking(AsyncClient.versions)
    activate = _blocking(AsyncClient.activate)
    deactivate = _blocking(AsyncClient.deactivate)
    adapters = _blocking(AsyncClient.adapters)
    queues = _blocking(AsyncClient.queues)
    peek = _blocking(AsyncClient.peek)
    take = _blocking(AsyncClient.take)
    remove = _blocking(AsyncClient.remove)
    workers = _blocking(AsyncClient.workers)
    health = _blocking(AsyncClient.health)
    doctor = _blocking(AsyncClient.doctor)
