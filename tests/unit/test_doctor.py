"""`doctor` reports every problem as a finding."""

from __future__ import annotations

import pytest

from playhead.backends._postgres.diagnosis import _version
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


class Server:
    """A connection to PostgreSQL of some version."""

    def __init__(self, version: str, major: int) -> None:
        self._row = version, major

    async def fetch(self, query: str) -> list[tuple[str, int]]:
        assert "server_version_num" in query
        return [self._row]


@pytest.mark.parametrize(
    ("version", "major", "status"),
    [("18beta1", 18, "ok"), ("15.4 (Debian)", 15, "ok"), ("14.9", 14, "failed")],
)
async def test_every_form_of_a_version_of_postgresql_is_understood(version: str, major: int, status: str):
    found = await _version(Server(version, major), None)  # type: ignore[arg-type]

    assert (found.what, found.status, found.detail) == ("version", status, f"postgresql {version}")
    assert bool(found.fix) == (status == "failed")
