"""Which keys end soon, for the examination and the metrics."""

from __future__ import annotations

from collections.abc import Sequence

from playhead.ids import now, seconds
from playhead.model.access import SOON_SECONDS, AccessKey


def in_use(keys: Sequence[AccessKey]) -> list[AccessKey]:
    """Return the valid keys that no other valid key replaces, by name."""
    valid = [one for one in keys if one.state == "valid"]
    replaced = {one.replaces for one in valid}
    return sorted((one for one in valid if one.id not in replaced), key=lambda one: (one.name, one.id))


def ending_soon(keys: Sequence[AccessKey]) -> dict[str, float]:
    """Return the seconds until the end of each key in use that ends within 14 days, by name."""
    left = {one.name: seconds(one.expires_at) - now() for one in in_use(keys) if one.expires_at}
    return {name: rest for name, rest in left.items() if rest < SOON_SECONDS}
