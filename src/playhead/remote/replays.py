"""Replays and their control over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar
from uuid import UUID

from playhead.model import Pace, Replay, ReplayRequest
from playhead.ports.catalog.jobs import Opened
from playhead.reading.codecheck import Warn, no_warning
from playhead.remote.client import HARMLESS, WORK_SECONDS, Client
from playhead.remote.derived import Remote, derived
from playhead.remote.repeating import DELAYS, repeated
from playhead.services.control import ControlService

T = TypeVar("T")


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


class RemoteReplay:
    """Remote `ReplayService`. A request with a key is repeated if its answer is lost.

    Args:
        delays: seconds before each repetition.
    """

    def __init__(self, client: Client, *, delays: tuple[float, ...] = DELAYS) -> None:
        self._client = client
        self._delays = delays

    async def execute(
        self,
        request: ReplayRequest,
        warn: Warn = no_warning,
        started: Callable[[Opened], None] = lambda opened: None,
    ) -> ReplayAnswer:
        """Start a replay, and return when it is published.

        Args:
            warn: called with each warning of the server.
            started: called when the replay is recorded, if the request has a key.

        Raises:
            ReplayContinues: the server stopped waiting, and the replay continues.
        """
        if request.key is None:
            return (await self._post(request, ReplayAnswer, {}, warn))[0]
        opened = await self.create(request, warn)
        started(opened)
        batch = opened.replay.replay_batch_id
        # The same request with the same key waits for the replay that exists.
        answer, _ = await repeated(
            lambda: self._post(request, ReplayAnswer, {}, no_warning),
            f"replay {batch} continues. Watch it: {self._command(f'playhead replays watch {batch}')}",
            self._delays,
        )
        return answer

    async def create(self, request: ReplayRequest, warn: Warn = no_warning) -> Opened:
        """Record a replay, and return it. The server publishes it."""
        prefer = {"Prefer": "respond-async"}
        if request.key is None:
            return Opened(*await self._post(request, Replay, prefer, warn))
        replay, fresh = await repeated(
            lambda: self._post(request, Replay, prefer, warn),
            "the replay may have started, and then it continues. To repeat the request without a second "
            f"replay, use the same key: --key {request.key}",
            self._delays,
        )
        return Opened(replay, fresh)

    async def _post(
        self, request: ReplayRequest, form: type[T], headers: dict[str, str], warn: Warn
    ) -> tuple[T, bool]:
        """Send the request once. Returns its answer, and whether this request has started the replay."""
        source = f" {request.from_execution_id}" if request.from_execution_id.int else ""
        again = self._command(f"playhead replays{source}")
        if request.key is not None:
            headers = headers | {"Idempotency-Key": request.key}
        query = {"require_code": "true"} if request.require_code else {}
        query |= {} if request.allow_old_code else {"allow_old_code": "false"}
        answer, response = await self._client.post_for_response(
            "replay",
            form,
            lost=f"the replay may have started, and then it continues. Check with: {again}",
            json=request.body(),
            seconds=WORK_SECONDS,
            query=query,
            headers=headers,
            warn=warn,
        )
        return answer, "Idempotent-Replayed" not in response.headers

    def _command(self, command: str) -> str:
        return f"{command} --server {self._client.shown}"


class RemoteControl(Remote):
    """Remote `ControlService`."""

    pause = derived(ControlService.pause, "replays/{batch}/pause", verb="POST")
    retry = derived(ControlService.retry, "replays/{batch}/retry", verb="POST")
    cancel = derived(ControlService.cancel, "replays/{batch}/cancel", verb="POST")

    async def resume(self, batch: UUID, *, canary: int | None = None) -> Replay:
        body = None if canary is None else {"canary": canary}
        return await self._client.post(f"replays/{batch}/resume", Replay, lost=HARMLESS, json=body)

    async def set_pace(self, batch: UUID, pace: Pace | None) -> Replay:
        body = asdict(pace) if pace else None
        return await self._client.put(f"replays/{batch}/pace", Replay, lost=HARMLESS, json=body)
