"""A `kill -9` at any named point changes nothing: what is left is what an undisturbed deployment has.

These are some of the cases; `make faults` tries all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Final

import pytest

from playhead import faults
from tests.acceptance.kills import CASES, Case, Outcome, trying

CHOSEN: Final = tuple(
    {(case.point, case.who, case.n > 1, case.pipeline, case.purged): case for case in CASES}.values()
)
"""One of those that differ only in what goes on, a run or a replay, or in how far a job is."""


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Mapping[Case, Future[Outcome]]]:
    """What the selected cases came to, each as soon as it is known."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    cases = [of.params.get("case") for of in parameters if of]
    with trying([case for case in cases if isinstance(case, Case)]) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("case", CHOSEN, ids=str)
def test_nothing_is_lost_doubled_or_uncertain_after_a_kill(
    case: Case, outcomes: Mapping[Case, Future[Outcome]]
) -> None:
    findings = outcomes[case].result().findings
    assert findings.exact, f"{case}\n{findings}"


def test_every_point_has_a_case() -> None:
    assert {case.point for case in CASES} == {case.point for case in CHOSEN} == faults.POINTS


@pytest.mark.parametrize("what", ["run", "replay"])
def test_every_point_of_a_worker_is_struck_at_its_first_pass_and_at_a_later_one(what: str) -> None:
    struck = {(case.point, case.n > 1) for case in CASES if case.what == what and case.who == "worker"}
    points = {point for point in faults.POINTS if point.startswith("worker.")}
    assert struck == {(point, later) for point in points for later in (False, True)}
