"""What `doctor` asks each backend: is it reached, may we do what we must, will it keep what it confirms."""

from __future__ import annotations

from typing import Final, Literal, Protocol, get_args

from playhead.model import Finding

__all__ = ["PROCESS_ROLES", "Diagnosed", "Finding", "ProcessRole"]

ProcessRole = Literal["server", "worker"]
"""What a process does. Each may have its own user in the backends, with its own rights."""
PROCESS_ROLES: Final[tuple[ProcessRole, ...]] = get_args(ProcessRole)


class Diagnosed(Protocol):
    """A backend that can be examined."""

    name: str

    async def diagnose(self) -> list[Finding]:
        """Run the operations that processing needs, as processing would run them. Leave no test data.

        Returns the findings in the order of the checks. Stops after a failure that makes the next checks
        meaningless. Never raises for a problem that it finds: an unreachable backend is a finding.
        """
        ...
