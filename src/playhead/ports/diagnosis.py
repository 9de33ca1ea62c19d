"""What `doctor` asks each backend: is it reached, may we do what we must, will it keep what it confirms."""

from __future__ import annotations

from typing import Protocol

from playhead.model import Finding

__all__ = ["Diagnosed", "Finding"]


class Diagnosed(Protocol):
    """A backend that can be examined."""

    name: str

    async def diagnose(self) -> list[Finding]:
        """Look at everything that work will need, as work would do it; leaves nothing behind.

        Returns findings in the order in which they were made; stops after a failed one that makes the
        next meaningless. Never raises for what it finds: a backend that can't be reached is a finding.
        """
        ...
