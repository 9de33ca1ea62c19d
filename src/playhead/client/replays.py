"""The part of the client that starts, watches and controls replays."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import warnings
from collections.abc import Iterator, Mapping
from uuid import UUID

from playhead.bootstrap import open_runtime
from playhead.client.loop import BackgroundLoop
from playhead.ids import now, uuid7
from playhead.model import Canary, Execution, OnReplay, Pace, Replay, ReplayRequest, Selection
from playhead.remote import RemoteServices
from playhead.remote.replays import ReplayAnswer
from playhead.replay.selection import resolve_selection
from playhead.services import Services
from playhead.settings import Settings

Name = str | UUID
"""The name of an execution: an id or its end, `latest`, `latest:CONFIG`, `latest:replay` or `tag:NAME`."""
ReplayName = str | UUID | Replay | ReplayAnswer
"""A replay: its batch id, the id of its execution, the end of one, `latest`, or what a method returned."""

_LOOK_SECONDS = 0.5


class ReplayMethods:
    """The methods of `Client` about replays."""

    _settings: Settings
    _loop: BackgroundLoop
    _services: Services | RemoteServices

    def replay(
        self,
        execution: Name,
        stage: str,
        route: str,
        path: str | None = None,
        *,
        selection: Selection | None = None,
        version: int | None = None,
        effects: OnReplay | Mapping[str, OnReplay] | None = None,
        pace: Pace | None = None,
        canary: Canary | None = None,
        reason: str | None = None,
        webhook: str | None = None,
        report: bool | None = None,
        key: str | None = None,
        detach: bool = False,
    ) -> Replay | ReplayAnswer:
        """Send the objects of a stored stage into a route, and return when all messages are published.

        Workers process the messages, and `wait` waits for them. The result has the `execution_id` of the new
        execution. Workers with outdated or different code cause a Python warning.

        Args:
            execution: the source, which does not change.
            stage: the stage to replay.
            route: the target: `ROUTE` or `CONFIG/ROUTE`.
            path: a folder or an object in the stage; None: the whole stage.
            selection: only objects that meet these conditions, such as `playhead.Selection(only="failed")`.
            version: the version of the config of the route; None: the newest.
            effects: what the replay does in routes with external effects: `run`, `skip` or `refuse`, for all
                of them or by route, where `*` stands for all others. The config may be stricter.
            pace: `playhead.RatePace(rate)` in messages per second, or `playhead.DepthPace(queue_depth)`;
                None: as fast as possible.
            canary: `playhead.Canary(objects, max_failed)`: the other objects follow when these first ones are
                processed, and at most `max_failed` of them have failed; None: publish all at once.
            reason: why it is replayed.
            webhook: URL that receives the events of the replay; the operator allows its host.
            report: write a completion report; None: only if any other argument beyond `path` is given.
            key: a key of your own: a repeated call with the same key and arguments starts no second replay.
            detach: return when the replay is recorded. A server or a worker publishes it.

        Raises:
            ValueError: a value of the selection is invalid.
        """
        if selection is not None:
            resolve_selection(
                selection, now()
            )  # only to check it: with a key, the request must stay the same
        request = ReplayRequest(
            *(self._execution(execution), stage, path, route),
            selection=selection,
            config_version=version,
            effects=effects,
            pace=pace,
            canary=canary,
            reason=reason,
            webhook=webhook,
            report=report,
            key=str(uuid7()) if key is None else key,
        )
        if isinstance(self._services, RemoteServices):
            remote = self._services.replay
            if detach:
                return self._loop.run(remote.start(request, warnings.warn)).replay
            return self._loop.run(remote.execute(request, warnings.warn))
        if detach:
            return self._loop.run(self._services.replay.create(request, warnings.warn)).replay
        thresholds = gc.get_threshold()

        async def publish() -> Replay:
            # A process with a heartbeat, so that no other process takes the replay over.
            async with open_runtime(self._settings, kind="replay", creates_home=False) as runtime:
                return await runtime.services.replay.execute(request, warnings.warn)

        try:
            return self._loop.run(publish())
        finally:
            # The runtime adjusts the garbage collector for a process of Playhead, which this one is not.
            gc.set_threshold(*thresholds)
            gc.unfreeze()

    def watch(self, replay: ReplayName = "latest") -> Iterator[Replay]:
        """Yield a replay now and after each change, until its messages are processed. Continues in a pause.

        The last value is the final state; `execution` returns the outcome of the messages.

        Args:
            replay: a batch id, the id of its execution, the end of one, `latest`, or the result of `replay`.
        """
        executions, batch = self._services.executions, self._batch(replay)
        seen: Replay | None = None
        made: Execution | None = None
        while True:
            now = self._loop.run(executions.replay(batch))
            state = dataclasses.replace(now, rate=None, eta_seconds=None)
            if state != seen:
                yield now
            seen = state
            # Read after the execution, the numbers of the replay are final.
            if made and made.status != "running" and now.status is not None:
                return
            self._loop.run(asyncio.sleep(_LOOK_SECONDS))
            made = self._loop.run(executions.get(now.execution_id))

    def pause(self, replay: ReplayName) -> Replay:
        """Suspend the publishing of a replay. Only messages that the result counts can start until `resume`.

        Args:
            replay: as in `watch`.
        """
        return self._loop.run(self._services.control.pause(self._batch(replay)))

    def resume(self, replay: ReplayName) -> Replay:
        """Continue a paused or stalled replay. A server or a worker publishes it.

        Args:
            replay: as in `watch`.
        """
        return self._loop.run(self._services.control.resume(self._batch(replay)))

    def cancel(self, replay: ReplayName, *, withdraw: bool = False) -> Replay:
        """End the publishing of a replay. Published messages are processed.

        Args:
            replay: as in `watch`.
            withdraw: also cancel published messages that no worker has started.
        """
        return self._loop.run(self._services.control.cancel(self._batch(replay), withdraw=withdraw))

    def retry(self, replay: ReplayName) -> Replay:
        """Publish the refused messages of a replay again. A server or a worker publishes them.

        Args:
            replay: as in `watch`.
        """
        return self._loop.run(self._services.control.retry(self._batch(replay)))

    def pace(self, replay: ReplayName, pace: Pace | None) -> Replay:
        """Change the pace of a replay, also while it runs.

        Args:
            replay: as in `watch`.
            pace: `playhead.RatePace(rate)`, `playhead.DepthPace(queue_depth)`, or None to remove it.
        """
        return self._loop.run(self._services.control.set_pace(self._batch(replay), pace))

    def _batch(self, replay: ReplayName) -> UUID:
        if isinstance(replay, Replay | ReplayAnswer):
            return replay.replay_batch_id
        return self._loop.run(self._services.resolve.replay(str(replay)))

    def _execution(self, name: Name) -> UUID:
        if isinstance(name, UUID):
            return name
        return self._loop.run(self._services.resolve.execution(name))
