"""After a `kill -9` at any point of a publication, readers see the earlier or the new one, never a mixture.

No command is needed afterwards: another process continues the draft. `make faults ARGS=--publications` kills
each process many times.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.publishing import CASES, DROPS, Kill, Killing, open_killing
from tests.servers import need

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def killing() -> Iterator[Killing]:
    with open_killing(need("postgres"), lease=3) as made:
        yield made


@pytest.mark.parametrize("case", [case for case in CASES if case not in DROPS])
def test_a_publication_ends_without_help_and_without_a_mixture(killing: Killing, case: str) -> None:
    judge(killing.kill(case))


def test_a_drop_killed_at_each_of_its_points_ends_without_help_and_without_a_mixture(
    killing: Killing,
) -> None:
    judge(killing.kill_a_drop(*DROPS))


def judge(found: Kill) -> None:
    assert not found.reads.mixtures
    assert not found.left
    assert found.reads.count
