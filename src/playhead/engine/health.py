"""How the backends are, asked at once and within a time."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from playhead.errors import PlayheadError
from playhead.model import BackendHealth

CHECK_SECONDS: Final = 5.0


class Checked(Protocol):
    """A backend that can say how it is."""

    name: str

    async def check(self) -> str: ...


async def check_all(*backends: Checked) -> list[BackendHealth]:
    """Ask each backend how it is; takes `CHECK_SECONDS` at most. One that is away is `down`, no error."""
    return await asyncio.gather(*(_check(backend) for backend in backends))


async def _check(backend: Checked) -> BackendHealth:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return BackendHealth(backend.name, "ok", await backend.check())
    except PlayheadError as exc:
        return BackendHealth(backend.name, "down", exc.detail)
    except TimeoutError:
        return BackendHealth(backend.name, "down", f"no answer within {CHECK_SECONDS:g} s")
