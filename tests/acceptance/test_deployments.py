"""What happens to servers in the middle of work loses nothing and doubles nothing, and is told as it is.

These are some of the trials; `make faults ARGS=--deployments` makes all of them, with longer absences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Final

import pytest

from tests.acceptance.deployments import KINDS
from tests.acceptance.scenes import Outcome
from tests.acceptance.trials import TRIALS, Trial, trying
from tests.servers import Missing, absent

CHOSEN: Final[Mapping[str, frozenset[str]]] = {
    "nats": frozenset({"broker stopped", "stream full"}),
    "rabbitmq": frozenset({"cut before the confirm", "store says AccessDenied", "memory alarm"}),
    "postgres": frozenset(
        {
            "COMMIT answers lost, queues",
            "no connections left",
            "server asleep",
            "workers killed",
        }
    ),
    "nats-three": frozenset({"leader killed", "leaders step down"}),
}
"""By kind of deployment. Faults of processes concern the catalog, which all kinds share."""

_SECONDS: Final = 3.0
"""For what is away: longer than a worker or a server waits before it asks again."""


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Mapping[Trial, Future[Outcome]]]:
    """What the selected trials came to, each as soon as it is known."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    given = [of.params.get("trial") for of in parameters if of]
    trials = [trial for trial in given if isinstance(trial, Trial)]
    with trying(trials, seconds=_SECONDS, kinds_at_once=1) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("trial", [t for t in TRIALS if t.fault in CHOSEN[t.kind.name]], ids=str)
def test_nothing_is_lost_or_doubled_and_all_ends(
    trial: Trial, outcomes: Mapping[Trial, Future[Outcome]]
) -> None:
    try:
        findings = outcomes[trial].result().findings
    except Missing as exc:
        absent(exc)
    assert findings.exact, f"{trial}\n{findings}"


def test_every_trial_that_is_chosen_exists() -> None:
    assert set(CHOSEN) == set(KINDS)
    for kind, faults in CHOSEN.items():
        assert faults <= {trial.fault for trial in TRIALS if trial.kind.name == kind}
