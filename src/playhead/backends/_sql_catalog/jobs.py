"""When a job is given up, and what is refused."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from playhead.errors import BadRequest, Conflict

MOST_IDLE_TAKEOVERS: Final = 5
"""A job that so many in a row have taken over while it was listed, and got no further, is stalled."""


def path_taken(path: str) -> BadRequest:
    return BadRequest("invalid_path", f"two inputs of this run have the path {path!r}")


def has_ended(execution: UUID, status: str) -> Conflict:
    return Conflict("execution_ended", f"execution {execution} is {status}; there is nothing to cancel")
