"""What commands work with: services, of this process or of a server. A command can't tell which.

`playhead.services` and `playhead.remote` both fit these Protocols; what each method does, returns and
raises is said there.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from playhead.bootstrap import Runtime
    from playhead.envelope import Message
    from playhead.model import (
        AdapterInfo,
        ChainLink,
        ConfigVersion,
        DeadLetter,
        DeadLetterDetail,
        Diagnostic,
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
    from playhead.services.browse import Content
    from playhead.services.replay import ReplayRequest
    from playhead.services.take import HandOut


class Browsing(Protocol):
    async def execution(self, execution: UUID) -> Execution: ...
    async def executions(self, where: ExecutionFilter, cursor: str | None, limit: int) -> Page[Execution]: ...
    async def resolve(self, text: str) -> UUID: ...
    async def route_counts(self, execution: UUID) -> list[RouteCounts]: ...
    async def stages(self, execution: UUID) -> list[StageSummary]: ...
    async def replays(self, source: UUID | None, cursor: str | None, limit: int) -> Page[Replay]: ...
    async def lineage_of_object(self, key: str) -> list[Lineage]: ...
    async def chain(
        self,
        correlation_id: UUID,
        direction: Literal["up", "down", "both"],
        cursor: str | None,
        limit: int,
    ) -> Page[ChainLink]: ...
    async def objects(
        self, execution: UUID, stage: str | None, path: str | None, cursor: str | None, limit: int
    ) -> Page[StoredObject]: ...
    async def content(self, key: str) -> Content: ...
    async def dead_letters(
        self,
        *,
        execution: UUID | None = None,
        route: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DeadLetter]: ...
    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail: ...
    async def routes(self, cursor: str | None, limit: int) -> Page[RouteStatus]: ...
    async def peek(self, queue: str, limit: int) -> list[Message]: ...
    async def adapter_infos(self) -> list[AdapterInfo]: ...
    async def health(self, version: str) -> Health: ...


class Configuring(Protocol):
    async def apply(self, source: bytes | str) -> tuple[ConfigVersion, bool]: ...
    async def validate(self, source: bytes | str) -> list[Diagnostic]: ...
    async def get(self, name: str, version: int | None = None) -> ConfigVersion: ...
    async def list(self, cursor: str | None, limit: int) -> Page[ConfigVersion]: ...
    async def set_active(self, name: str, active: bool) -> ConfigVersion: ...


class Recovering(Protocol):
    async def cancel(self, execution: UUID) -> Execution: ...
    async def resend(
        self, ids: Sequence[UUID] | None = None, execution: UUID | None = None, route: str | None = None
    ) -> Sized:
        """Send dead letters again; as many as the answer is long."""
        ...


class Played(Protocol):
    """The answer of the replay contract."""

    @property
    def execution_id(self) -> UUID: ...
    @property
    def from_execution_id(self) -> UUID: ...
    @property
    def from_stage(self) -> str: ...
    @property
    def from_path(self) -> str | None: ...
    @property
    def to_route(self) -> str: ...
    @property
    def to_queue(self) -> str: ...
    @property
    def objects_found(self) -> int: ...
    @property
    def objects_published(self) -> int: ...
    @property
    def objects_failed(self) -> int: ...
    @property
    def status(self) -> str | None: ...
    @property
    def replay_batch_id(self) -> UUID: ...
    @property
    def errors(self) -> list[str] | None: ...


class Replaying(Protocol):
    async def execute(self, request: ReplayRequest) -> Played: ...


class Submitting(Protocol):
    async def run(
        self,
        config: str,
        inputs: AsyncIterable[tuple[str, bytes]],
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
    ) -> Execution: ...


class Taking(Protocol):
    async def take(self, queue: str, limit: int) -> HandOut: ...
    async def remove(self, queue: str, receipt: str) -> int: ...


class Searching(Protocol):
    async def search(
        self, index: str, words: str, execution: UUID | None = None, limit: int = 10
    ) -> list[SearchHit]: ...


class Services(Protocol):
    @property
    def configs(self) -> Configuring: ...
    @property
    def submit(self) -> Submitting: ...
    @property
    def replay(self) -> Replaying: ...
    @property
    def browse(self) -> Browsing: ...
    @property
    def recover(self) -> Recovering: ...
    @property
    def take(self) -> Taking: ...
    @property
    def search(self) -> Searching: ...


@dataclass(frozen=True, slots=True)
class Site:
    """Services, and where they are.

    Attributes:
        here: the process that has the backends open; None when a server has.
    """

    services: Services
    here: Runtime | None
