"""Replays and their control over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeVar
from uuid import UUID

from playhead.errors import Unavailable
from playhead.model import Pace, Replay, ReplayRequest
from playhead.ports.catalog.jobs import Opened
from playhead.reading.codecheck import Warn, no_warning
from playhead.remote.client import HARMLESS, WORK_SECONDS, Client
from playhead.remote.derived import Remote, derived
from playhead.services.control import ControlService

T = TypeVar("T")

_DELAYS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each repetition of a request whose answer was lost."""
_LONG_SECONDS: Final = 30.0
"""The connection of a request that lasted so long has worked; its loss is not one more failure in a row."""
_LOST: Final = ("answer_lost", "server_unavailable")


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

    def __init__(self, client: Client, *, delays: tuple[float, ...] = _DELAYS) -> None:
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
        answer, _ = await self._repeated(
            lambda: self._post(request, ReplayAnswer, {}, no_warning),
            f"replay {batch} continues. Watch it: {self._command(f'playhead replays watch {batch}')}",
        )
        return answer

    async def create(self, request: ReplayRequest, warn: Warn = no_warning) -> Opened:
        """Record a replay, and return it. The server publishes it."""
        prefer = {"Prefer": "respond-async"}
        if request.key is None:
            return Opened(*await self._post(request, Replay, prefer, warn))
        replay, fresh = await self._repeated(
            lambda: self._post(request, Replay, prefer, warn),
            "the replay may have started, and then it continues. To repeat the request without a second "
            f"replay, use the same key: --key {request.key}",
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

    async def _repeated(self, send: Callable[[], Awaitable[T]], lost: str) -> T:
        """Send a request that may be repeated, until an answer arrives.

        Args:
            lost: end of the error message if no answer arrives.
        """
        delays = iter(self._delays)
        was_sent = False
        while True:
            began = time.monotonic()
            try:
                return await send()
            except Unavailable as exc:
                if exc.code not in _LOST or (exc.code == "server_unavailable" and not was_sent):
                    raise
                was_sent = True
                if time.monotonic() - began >= _LONG_SECONDS:
                    delays = iter(self._delays)
                delay = next(delays, None)
                if delay is None:
                    raise Unavailable("answer_lost", f"{exc.detail.partition(';')[0]}; {lost}") from exc
                await asyncio.sleep(delay)

    def _command(self, command: str) -> str:
        return f"{command} --server {self._client.shown}"


class RemoteControl(Remote):
    """Remote `ControlService`."""

    pause = derived(ControlService.pause, "replays/{batch}/pause", verb="POST")
    resume = derived(ControlService.resume, "replays/{batch}/resume", verb="POST")
    retry = derived(ControlService.retry, "replays/{batch}/retry", verb="POST")
    cancel = derived(ControlService.cancel, "replays/{batch}/cancel", verb="POST")

    async def set_pace(self, batch: UUID, pace: Pace | None) -> Replay:
        body = asdict(pace) if pace else None
        return await self._client.put(f"replays/{batch}/pace", Replay, lost=HARMLESS, json=body)
