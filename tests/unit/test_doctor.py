"""`doctor` reports every problem as a finding."""

from __future__ import annotations

import pytest

from playhead.errors import CannotStart, PlayheadError, Unavailable
from playhead.model import Finding
from playhead.services.doctor import DoctorService, Patient


class Broken:
    """A backend that cannot be examined."""

    name = "postgresql"

    def __init__(self, problem: PlayheadError) -> None:
        self._problem = problem

    async def diagnose(self) -> list[Finding]:
        raise self._problem


@pytest.mark.parametrize(
    "problem", [CannotStart("catalog_newer", "its schema is newer"), Unavailable("x", "its schema is newer")]
)
async def test_a_backend_that_cannot_be_examined_is_a_finding(problem: PlayheadError):
    found = await DoctorService([Patient("broker", Broken(problem))], None, None).examine()

    assert found.status == "failed"
    (part,) = found.parts
    (finding,) = part.findings
    assert (finding.what, finding.status, finding.detail) == ("reach", "failed", "its schema is newer")
