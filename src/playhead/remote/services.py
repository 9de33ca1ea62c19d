"""The methods of `playhead.services` as requests, with the same arguments, return values and errors.

Every method raises `Unavailable` (`server_unavailable`) if the server is unreachable. A method that changes
something also raises `answer_lost` if the answer is lost. The message explains how to check the result.
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
"""Maximum number of items in a page."""

_HARMLESS: Final = "the request can be repeated safely"
_YAML: Final = "application/yaml"
_EXAMINE_SECONDS: Final = 150.0
"""If a backend does not answer, each of the server's two steps takes a minute. The rest is a margin."""


# -- response types that the services do not have --------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplayAnswer:
    """The response to a replay request."""

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
    """An error code of the server; see `playhead.api.errors`."""

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
    """Remote `BrowseService`."""

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
        """Return the health of the server, with the server's version; `version` is ignored."""
        return await self._client.get("system/health", Health)


class RemoteConfigs:
    """Remote `ConfigService`."""

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
    """Remote `RecoverService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def cancel(self, execution: UUID) -> Execution:
        return await self._client.post(f"executions/{execution}/cancel", Execution, lost=_HARMLESS)

    async def resend(
        self, ids: Sequence[UUID] | None = None, execution: UUID | None = None, route: str | None = None
    ) -> Sized:
        """Resend dead letters. The server returns only their number, so the result has only a length."""
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
    """Remote `ReplayService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def execute(self, request: ReplayRequest) -> ReplayAnswer:
        """Start a replay with one request. Return when it is published.

        Raises:
            ReplayContinues: the server stopped waiting, and the replay continues.
        """
        source = request.from_execution_id
        return await self._client.post(
            "replay",
            ReplayAnswer,
            lost=(
                "the replay may have started, and then it continues. The request was not repeated. "
                f"Check with: playhead replays {source} --server {self._client.shown}"
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
    """Remote `SubmitService`."""

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
        """Stream the inputs to the server, which starts the run once it has stored all of them."""
        fields = [("tags", tag) for tag in tags]
        if version is not None:
            fields.append(("config_version", str(version)))
        upload = Upload(fields, inputs)
        return await self._client.post(
            f"configs/{segment(config)}/run",
            Execution,
            lost=(
                "if the server received all inputs, the execution runs. Check with: "
                f"playhead executions --config {config} --server {self._client.shown}"
            ),
            content=upload.body(),
            content_type=upload.content_type,
            seconds=WORK_SECONDS,
        )


class RemoteTake:
    """Remote `TakeService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def take(self, queue: str, limit: int) -> HandOut:
        return await self._client.post(
            f"queues/{segment(queue)}/take",
            HandOut,
            lost="no message was removed; the broker delivers the messages again after the visibility time",
            json={"limit": min(limit, MOST_AT_ONCE)},
        )

    async def remove(self, queue: str, receipt: str) -> int:
        answer = await self._client.post(
            f"queues/{segment(queue)}/remove",
            _Removed,
            lost="messages that were not removed are delivered again after the visibility time",
            json={"receipt": receipt},
        )
        return answer.removed


class RemoteSearch:
    """Remote `SearchService`: searches indexes in the server's data folder."""

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
    """Remote `DoctorService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def examine(self) -> Examination:
        """Let the server examine its backends."""
        return await self._client.look("system/doctor", Examination, seconds=_EXAMINE_SECONDS)


@dataclass(frozen=True, slots=True)
class RemoteServices:
    """The remote services of one server; see `playhead.services.Services`."""

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
        """Create all services with one client."""
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
    """Return all items of a list by reading all its pages."""
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
