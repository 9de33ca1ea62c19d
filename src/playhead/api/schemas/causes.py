"""The bodies of requests about causes of failures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from playhead.api.schemas import Body, Word


class Acknowledge(Body):
    """Why a cause needs no attention, and until when."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=r"^[^\x00]*$")] = Field(
        description="Why nothing is done now."
    )
    requested_by: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")] = Field(
        default="", description="Who acknowledges it."
    )
    until: Word | None = Field(
        default=None,
        description="When the acknowledgement ends: `CONFIG@VERSION`, when this version of the config is "
        "applied; a date, as in `2026-12-24` (its beginning in UTC); or a time with an offset. "
        "Null: when it is removed.",
    )
