"""The bodies of requests about routes and queues."""

from __future__ import annotations

from playhead.api.schemas.derived import body_of
from playhead.model import RoutePause

PauseRoute = body_of("PauseRoute", RoutePause)
