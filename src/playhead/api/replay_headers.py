"""Headers of requests for replays and publications: whether the client waits, and the key that makes a
request safe to repeat."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import Header

RESPOND_ASYNC: Final = "respond-async"
"""The preference (RFC 7240) of a client that does not wait for the end."""
_QUOTED: Final = re.compile(r'"(\\.|[^"\\])*"')

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Makes the request safe to repeat: 1 to 255 visible ASCII characters. A request with the "
        "key of an earlier one starts nothing, and returns the replay of that one. A key is kept for a day, "
        "and until publishing has ended.",
    ),
]
PublicationKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Makes the request safe to repeat: 1 to 255 visible ASCII characters. A request with the "
        "key and the body of an earlier one begins nothing, and returns the publication of that one. A key "
        "is kept for a day, and until the publication has ended. `dry_run` needs no key.",
    ),
]
Prefer = Annotated[
    str | None,
    Header(
        alias="Prefer",
        description=f"`{RESPOND_ASYNC}`: do not wait for the end. The response is 202, with `Location`.",
    ),
]


ACCEPTED: Final[dict[str, Any]] = {
    "Location": {"schema": {"type": "string"}, "description": "Path at which to look again."},
    "Preference-Applied": {
        "schema": {"type": "string", "enum": [RESPOND_ASYNC]},
        "description": "The preference that the server has followed.",
    },
}
"""The headers of the response to `respond-async`."""


def replayed(what: str) -> dict[str, Any]:
    """Return the header of a response to a request whose key belongs to an earlier one."""
    return {
        "Idempotent-Replayed": {
            "schema": {"type": "string", "enum": ["true"]},
            "description": f"An earlier request with this key has started the {what}.",
        }
    }


def prefers_async(prefer: str | None) -> bool:
    """Whether the header `Prefer` names `respond-async`, without regard to case and parameters."""
    named = _QUOTED.sub("", prefer or "").split(",")
    return any(one.partition(";")[0].strip().lower() == RESPOND_ASYNC for one in named)
