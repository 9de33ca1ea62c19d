"""After a `kill -9` at any named point the result equals that of an undisturbed deployment.

`make test` runs a selection of the cases; `make test-full` and `make faults` run all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Final

import pytest
from _pytest.mark import ParameterSet

from playhead import faults
from tests.acceptance import (
    publishing,
    test_canary_kills as canary,
    test_control_kills as control,
    test_dataset_webhook_kills as dataset_webhook,
    test_plan_kills as plan,
    test_prune_kills as prune,
    test_repair_kills as repair,
    test_report_kills as report,
    test_reuse_kills as reuse,
    test_take_kills as take,
)
from tests.acceptance.kills import CASES, Case, Outcome, trying

FAST: Final = frozenset(
    case
    for trait in ("point", "who", "pipeline", "purged", "what")
    for case in {getattr(case, trait): case for case in reversed(CASES)}.values()
)
"""Cases in which each point, process, pipeline and kind of job occurs; `make test-full` runs all cases."""


def _param(case: Case) -> ParameterSet:
    return pytest.param(case, id=str(case), marks=() if case in FAST else pytest.mark.full)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Mapping[Case, Future[Outcome]]]:
    """The outcomes of the selected cases, each as soon as it is known."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    cases = [of.params.get("case") for of in parameters if of]
    with trying([case for case in cases if isinstance(case, Case)]) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("case", [_param(case) for case in CASES])
def test_nothing_is_lost_duplicated_or_uncertain_after_a_kill(
    case: Case, outcomes: Mapping[Case, Future[Outcome]]
) -> None:
    findings = outcomes[case].result().findings
    assert findings.exact, f"{case}\n{findings}"


def test_every_point_has_a_case() -> None:
    """A plain run or a plain replay passes most of them. The others have tests of their own."""
    plain = {case.point for case in CASES}
    assert {case.point for case in FAST} == plain
    others = [
        *canary.POINTS,
        *(point for point, _ in plan.CASES),
        *(str(case.values[0]) for case in (*prune.CASES, *prune.OF_RECORDS)),
        *report.POINTS,
        *(point for point, _ in reuse.CASES),
        *dataset_webhook.CASES,
        *publishing.CASES,
        *(point for _, _, point in repair.CASES),
        *control.POINTS,
        *take.CASES,
    ]
    assert plain | {point.partition(":")[0] for point in others} == faults.POINTS


@pytest.mark.parametrize("what", ["run", "replay"])
def test_a_worker_is_killed_at_the_first_and_at_a_later_pass_of_each_point(what: str) -> None:
    struck = {(case.point, case.n > 1) for case in CASES if case.what == what and case.who == "worker"}
    points = {point for point in faults.POINTS if point.startswith("worker.")}
    assert struck == {(point, later) for point in points for later in (False, True)}
