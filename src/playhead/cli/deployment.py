"""The services that commands use: those of this process, or those of a server.

`RemoteServices` has the methods of `Services` that commands use. The type checker checks each call against
both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playhead.bootstrap.process import Runtime
    from playhead.model import Replay
    from playhead.remote import RemoteServices
    from playhead.remote.objects import RemoteObjects
    from playhead.remote.queues import RemoteQueues, RemoteTake
    from playhead.remote.replays import ReplayAnswer
    from playhead.services import Services
    from playhead.services.objects import ObjectService
    from playhead.services.queues import QueueService
    from playhead.services.take import TakeService

    AnyObjects = ObjectService | RemoteObjects
    AnyQueues = QueueService | RemoteQueues
    AnyTake = TakeService | RemoteTake
    AnyReplay = Replay | ReplayAnswer


@dataclass(frozen=True, slots=True)
class Deployment:
    """The services, and where they run.

    Attributes:
        here: the process with open backends; None if a server has them.
    """

    services: Services | RemoteServices
    here: Runtime | None
