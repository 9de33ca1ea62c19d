"""The bodies of requests about keys."""

from __future__ import annotations

from pydantic import Field

from playhead.api.schemas import Body
from playhead.api.schemas.derived import body_of
from playhead.model.access import DAY_SECONDS, KEY_SECONDS, MOST_KEY_SECONDS, KeyRequest

NewKey = body_of("NewKey", KeyRequest)


class RotateKey(Body):
    """How a key is replaced."""

    overlap: float = Field(
        default=DAY_SECONDS, ge=0, le=MOST_KEY_SECONDS, description="Seconds until the old key ends."
    )
    seconds: float | None = Field(
        default=KEY_SECONDS,
        ge=1,
        le=MOST_KEY_SECONDS,
        description="Seconds until the new key ends; null: never.",
    )
