"""Idempotency keys of requests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from playhead import acting
from playhead.errors import BadRequest
from playhead.ports.catalog.jobs import Key

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def key_of(starts: str, key: str, body: Mapping[str, Any], seconds: float) -> Key:
    """Return the key of a request. Callers do not share keys, so none gets what another one has started.

    Args:
        starts: what the request starts.
        body: the request; a repeated one has an equal body.
        seconds: how long the key is kept at least.

    Raises:
        BadRequest: `invalid_idempotency_key`.
    """
    if not _KEY.fullmatch(key):
        raise BadRequest(
            "invalid_idempotency_key",
            f"the Idempotency-Key has {len(key)} characters, or one that is not visible ASCII; send 1 to 255 "
            "characters from ! to ~, such as a UUID",
        )
    digest = sha256(json.dumps(body, sort_keys=True, default=str).encode()).digest()
    caller = acting.current().caller
    owner = "" if caller.kind in ("local", "process") else f"{caller.kind} {caller.id}"
    return Key(starts, owner, key, digest, seconds)
