"""Faults of servers during work lose and duplicate no message, and are reported.

`make test` runs one trial for each kind of deployment and `make test-full` all of them. `make faults
ARGS=--deployments` runs them with longer outages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Final

import pytest
from _pytest.mark import ParameterSet

from tests.acceptance.deployments import KINDS
from tests.acceptance.scenes import Outcome
from tests.acceptance.trials import TRIALS, Trial, trying
from tests.servers import Missing, absent

FAST: Final[Mapping[str, str]] = {
    "nats": "broker stopped",
    "rabbitmq": "connection cut before the confirmation",
    "postgres": "workers killed",
    "nats-three": "leader killed",
}
"""One fault for each kind of deployment; `make test-full` runs all. The integration tests of each backend
cover the other faults of its server, without processes."""


def _param(trial: Trial) -> ParameterSet:
    fast = FAST[trial.kind.name] == trial.fault
    return pytest.param(trial, id=str(trial), marks=() if fast else pytest.mark.full)


_SECONDS: Final = 3.0
"""The length of an outage: longer than the pause before a worker or server retries."""


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Mapping[Trial, Future[Outcome]]]:
    """The outcomes of the selected trials, each as soon as it is known."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    given = [of.params.get("trial") for of in parameters if of]
    trials = [trial for trial in given if isinstance(trial, Trial)]
    with trying(trials, seconds=_SECONDS, kinds_at_once=1) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("trial", [_param(trial) for trial in TRIALS])
def test_nothing_is_lost_or_duplicated_and_all_executions_end(
    trial: Trial, outcomes: Mapping[Trial, Future[Outcome]]
) -> None:
    try:
        findings = outcomes[trial].result().findings
    except Missing as exc:
        absent(exc)
    assert findings.exact, f"{trial}\n{findings}"


def test_every_kind_of_deployment_has_a_fast_trial() -> None:
    assert set(FAST) == set(KINDS)
    assert set(FAST.items()) <= {(trial.kind.name, trial.fault) for trial in TRIALS}
