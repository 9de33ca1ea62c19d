"""The methods of `playhead.services`, each a request: same arguments, same values, same errors.

Every method raises `Unavailable` (`server_unavailable`) when the server can't be reached, and what changes
something also `answer_lost`, with words on how to find out what was done.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence, Sized
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeVar
from uuid import UUID

from playhead.envelope import Message
from playhead.model import (
    AdapterInfo,
    ChainLink,
    ConfigVersion,
    DeadLetter,
    DeadLetterDetail,
    Diagnostic,
    Examination,
    Execution,
    Health,
    Lineage,
    Page,
    Replay,
    RouteCounts,
    RouteStatus,
    SearchHit,
    StageSummary,
    StoredObject,
)
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.remote.client import WORK_SECONDS, Client, segment
from playhead.remote.uploads import Upload
from playhead.services.browse import Content, resolve
from playhead.services.replay import ReplayRequest
from playhead.services.take import MOST_AT_ONCE, HandOut

T = TypeVar("T")

MAX_PAGE: Final = 1000
"""Items that a server gives at once."""

_HARMLESS: Final = "doing it again does no harm"
_YAML: Final = "application/yaml"
_EXAMINE_SECONDS: Final = 150.0
"""A server's two steps of a minute each, where a backend does not answer, and what lies between."""


# -- answers that are not the services' own values -------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplayAnswer:
    """The answer of the replay contract."""

    execution_id: UUID
    from_execution_id: UUID
    from_stage: str
    from_path: str | None
    to_route: str
    to_queue: str
    objects_found: int
    objects_published: int
    objects_failed: int
    status: Literal["publishing_complete", "partial_failure"]
    replay_batch_id: UUID
    errors: list[str] | None


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code of the server's table; see `playhead.api.errors`."""

    code: str
    status: int
    meaning: str


@dataclass(frozen=True, slots=True)
class _Validated:
    valid: bool
    diagnostics: list[Diagnostic]


@dataclass(frozen=True, slots=True)
class _Resent:
    resent: int


@dataclass(frozen=True, slots=True)
class _Removed:
    removed: int


# -- services --------------------------------------------------------------------------------------


class RemoteBrowse:
    """Looking at things."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def execution(self, execution: UUID) -> Execution:
        return await self._client.get(f"executions/{execution}", Execution)

    async def executions(self, where: ExecutionFilter, cursor: str | None, limit: int) -> Page[Execution]:
        return await self._client.get(
            "executions", Page[Execution], **where._asdict(), cursor=cursor, limit=limit
        )

    async def resolve(self, text: str) -> UUID:
        return await resolve(text, self.executions)

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        return await _all(self._client, f"executions/{execution}/routes", Page[RouteCounts])

    async def stages(self, execution: UUID) -> list[StageSummary]:
        return await _all(self._client, f"executions/{execution}/stages", Page[StageSummary])

    async def replays(self, source: UUID | None, cursor: str | None, limit: int) -> Page[Replay]:
        return await self._client.get(
            "replays", Page[Replay], from_execution_id=source, cursor=cursor, limit=limit
        )

    async def lineage_of_object(self, key: str) -> list[Lineage]:
        return await _all(self._client, "lineage", Page[Lineage], object_key=key)

    async def chain(
        self,
        correlation_id: UUID,
        direction: Literal["up", "down", "both"],
        cursor: str | None,
        limit: int,
    ) -> Page[ChainLink]:
        return await self._client.get(
            f"lineage/{correlation_id}/chain",
            Page[ChainLink],
            direction=direction,
            cursor=cursor,
            limit=limit,
        )

    async def objects(
        self, execution: UUID, stage: str | None, path: str | None, cursor: str | None, limit: int
    ) -> Page[StoredObject]:
        return await self._client.get(
            "storage/objects",
            Page[StoredObject],
            execution_id=execution,
            stage=stage,
            path=path,
            cursor=cursor,
            limit=limit,
        )

    async def content(self, key: str) -> Content:
        headers, chunks = await self._client.stream("storage/objects/content", key=key)
        size = headers.get("content-length", "")
        return Content(
            headers.get("content-type", "application/octet-stream"),
            int(size) if size.isdecimal() else 0,
            chunks,
        )

    async def dead_letters(
        self,
        *,
        execution: UUID | None = None,
        route: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DeadLetter]:
        return await self._client.get(
            "dead-letters", Page[DeadLetter], execution_id=execution, route=route, cursor=cursor, limit=limit
        )

    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail:
        return await self._client.get(f"dead-letters/{correlation_id}", DeadLetterDetail)

    async def routes(self, cursor: str | None, limit: int) -> Page[RouteStatus]:
        return await self._client.get("routes", Page[RouteStatus], cursor=cursor, limit=limit)

    async def peek(self, queue: str, limit: int) -> list[Message]:
        return (await self._client.get(f"queues/{segment(queue)}/messages", Page[Message], limit=limit)).items

    async def adapter_infos(self) -> list[AdapterInfo]:
        return await _all(self._client, "adapters", Page[AdapterInfo])

    async def error_codes(self) -> list[ErrorCode]:
        return await _all(self._client, "errors", Page[ErrorCode])

    async def health(self, version: str) -> Health:
        """The server's health; the version in it is the server's."""
        return await self._client.get("system/health", Health)


class RemoteConfigs:
    """Configs: apply, validate, look up, switch on and off."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def apply(self, source: bytes | str) -> tuple[ConfigVersion, bool]:
        return await self._client.create(
            "configs", ConfigVersion, lost=_HARMLESS, content=_raw(source), content_type=_YAML
        )

    async def validate(self, source: bytes | str) -> list[Diagnostic]:
        answer = await self._client.post(
            "configs/validate", _Validated, lost=_HARMLESS, content=_raw(source), content_type=_YAML
        )
        return answer.diagnostics

    async def get(self, name: str, version: int | None = None) -> ConfigVersion:
        path = f"configs/{segment(name)}" + (f"/versions/{version}" if version else "")
        return await self._client.get(path, ConfigVersion)

    async def list(self, cursor: str | None, limit: int) -> Page[ConfigVersion]:
        return await self._client.get("configs", Page[ConfigVersion], cursor=cursor, limit=limit)

    async def set_active(self, name: str, active: bool) -> ConfigVersion:
        path = f"configs/{segment(name)}/{'activate' if active else 'deactivate'}"
        return await self._client.post(path, ConfigVersion, lost=_HARMLESS)


class RemoteRecover:
    """Setting things right by hand."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def cancel(self, execution: UUID) -> Execution:
        return await self._client.post(f"executions/{execution}/cancel", Execution, lost=_HARMLESS)

    async def resend(
        self, ids: Sequence[UUID] | None = None, execution: UUID | None = None, route: str | None = None
    ) -> Sized:
        """Send dead letters again. The server tells only how many those were, so only that is returned."""
        path = "dead-letters/resend"
        body: dict[str, object] = {
            "execution_id": str(execution) if execution else None,
            "route": route,
        }
        if ids is not None:
            body["correlation_ids"] = [str(identity) for identity in ids]
        answer = await self._client.post(path, _Resent, lost=_HARMLESS, json=body)
        return range(answer.resent)


class RemoteReplay:
    """Replays."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def execute(self, request: ReplayRequest) -> ReplayAnswer:
        """Start a replay, once, and wait until its server answers: that it is published, or goes on."""
        source = request.from_execution_id
        return await self._client.post(
            "replay",
            ReplayAnswer,
            lost=(
                "the replay may have begun, and then it goes on; it was not asked for again. "
                f"`playhead replays {source} --server {self._client.shown}` tells"
            ),
            json={
                "from_execution_id": str(source),
                "from_stage": request.from_stage,
                "from_path": request.from_path,
                "to_route": request.to_route,
            },
            seconds=WORK_SECONDS,
        )


class RemoteSubmit:
    """Runs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run(
        self,
        config: str,
        inputs: AsyncIterable[tuple[str, bytes]],
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
    ) -> Execution:
        """Send the inputs, piece by piece; the server stores and seals them when it has them all."""
        fields = [("tags", tag) for tag in tags]
        if version is not None:
            fields.append(("config_version", str(version)))
        upload = Upload(fields, inputs)
        return await self._client.post(
            f"configs/{segment(config)}/run",
            Execution,
            lost=(
                "if all inputs had arrived, they are run; "
                f"`playhead executions --config {config} --server {self._client.shown}` tells"
            ),
            content=upload.body(),
            content_type=upload.content_type,
            seconds=WORK_SECONDS,
        )


class RemoteTake:
    """Taking messages out of queues."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def take(self, queue: str, limit: int) -> HandOut:
        return await self._client.post(
            f"queues/{segment(queue)}/take",
            HandOut,
            lost="nothing was removed; what was handed out comes again",
            json={"limit": min(limit, MOST_AT_ONCE)},
        )

    async def remove(self, queue: str, receipt: str) -> int:
        answer = await self._client.post(
            f"queues/{segment(queue)}/remove",
            _Removed,
            lost="if it was not done, what was handed out comes again",
            json={"receipt": receipt},
        )
        return answer.removed


class RemoteSearch:
    """Indexes in the server's data folder."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def search(
        self, index: str, words: str, execution: UUID | None = None, limit: int = 10
    ) -> list[SearchHit]:
        page = await self._client.get(
            "search", Page[SearchHit], index=index, words=words, execution=execution, limit=limit
        )
        return page.items


class RemoteDoctor:
    """The server, examined by itself."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def examine(self) -> Examination:
        """Examine the backends as the server sees them."""
        return await self._client.look("system/doctor", Examination, seconds=_EXAMINE_SECONDS)


@dataclass(frozen=True, slots=True)
class RemoteServices:
    """What an entry point may ask for; see `playhead.services.Services`."""

    configs: RemoteConfigs
    submit: RemoteSubmit
    replay: RemoteReplay
    browse: RemoteBrowse
    recover: RemoteRecover
    take: RemoteTake
    search: RemoteSearch
    doctor: RemoteDoctor

    @classmethod
    def of(cls, client: Client) -> Self:
        """All of them, asking through one client."""
        return cls(
            RemoteConfigs(client),
            RemoteSubmit(client),
            RemoteReplay(client),
            RemoteBrowse(client),
            RemoteRecover(client),
            RemoteTake(client),
            RemoteSearch(client),
            RemoteDoctor(client),
        )


async def _all(client: Client, path: str, form: type[Page[T]], **query: object) -> list[T]:
    """All items of a list, page by page."""
    items: list[T] = []
    cursor: str | None = None
    while True:
        page = await client.get(path, form, **query, limit=MAX_PAGE, cursor=cursor)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items


def _raw(source: bytes | str) -> bytes:
    return source if isinstance(source, bytes) else source.encode()
