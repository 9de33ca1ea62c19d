"""Check all backends at the same time, with a time limit."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from playhead.errors import PlayheadError
from playhead.model import BackendHealth

CHECK_SECONDS: Final = 5.0


class Checked(Protocol):
    """A backend that can be checked."""

    name: str

    async def check(self) -> str: ...


async def check_all(*backends: Checked) -> list[BackendHealth]:
    """Check each backend; takes at most `CHECK_SECONDS`. An unavailable backend is `down`, not an error."""
    return await asyncio.gather(*(_check(backend) for backend in backends))


async def _check(backend: Checked) -> BackendHealth:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return BackendHealth(backend.name, "ok", await backend.check())
    except PlayheadError as exc:
        return BackendHealth(backend.name, "down", exc.detail)
    except TimeoutError:
        return BackendHealth(backend.name, "down", f"no answer within {CHECK_SECONDS:g} s")
