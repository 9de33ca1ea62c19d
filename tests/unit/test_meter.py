"""The rate of a replay: over the last seconds, from the reads of all clients together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from playhead.ids import moment, uuid7
from playhead.model import Replay
from playhead.replay.meter import Meter
from tests.lab import REPLAY, Clock


class Metered:
    """A replay whose reads are some seconds apart."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.meter = Meter(self.clock, self.clock)
        self.replay = replace(REPLAY, created_at=moment(self.clock.now))

    def after(self, seconds: float, published: int, **changes: Any) -> float | None:
        self.clock.now += seconds
        self.replay = replace(self.replay, objects_published=published, **changes)
        return self.meter.rate(self.replay)


@pytest.fixture
def metered() -> Metered:
    return Metered()


def test_the_rate_covers_the_last_seconds(metered: Metered):
    rates = [metered.after(1, n) for n in (100, 200, 300, 400, 500, 500, 500, 500, 500, 500, 500)]
    assert rates == [100.0, 100.0, 100.0, 100.0, 100.0, 80.0, 60.0, 40.0, 20.0, 0.0, 0.0]


def test_the_first_read_has_the_average_since_the_replay_was_created(metered: Metered):
    assert metered.after(100, 700) == 7.0
    assert metered.after(0, 700) == 7.0
    assert [metered.after(2, n) for n in (720, 740, 760)] == [7.1, 7.1, 10.0]


def test_the_first_read_at_the_moment_of_creation_has_no_rate(metered: Metered):
    assert metered.after(0, 0) is None


def test_many_reads_in_a_moment_do_not_change_the_rate(metered: Metered):
    metered.after(1, 100)
    assert [metered.after(0.01, n) for n in (100, 100, 100, 200)] == [99.0, 98.0, 97.1, 192.3]
    assert len(metered.meter._seen[metered.replay.replay_batch_id]) == 2


def test_seldom_reads_have_the_average_between_them(metered: Metered):
    assert [metered.after(60, n) for n in (600, 1800, 1800)] == [10.0, 20.0, 0.0]


@pytest.mark.parametrize("state", ["queued", "checking", "paused", "stalled"])
def test_a_replay_that_is_not_publishing_has_no_rate_and_that_time_does_not_count(
    metered: Metered, state: Any
):
    assert metered.after(1, 100) == 100.0
    assert metered.after(3600, 100, state=state) is None
    assert metered.after(1, 150, state="publishing") == 50.0


def test_an_ended_replay_has_no_rate_and_is_forgotten(metered: Metered):
    metered.after(1, 100)
    assert metered.after(1, 200, state="publishing_complete", status="publishing_complete") is None
    assert not metered.meter._seen


def test_only_the_replays_that_were_read_last_are_remembered(metered: Metered):
    def read(replay: Replay) -> float | None:
        return metered.meter.rate(replay)

    metered.after(1, 100)
    for _ in range(999):
        read(replace(metered.replay, replay_batch_id=uuid7()))
    assert metered.replay.replay_batch_id in metered.meter._seen
    for _ in range(1000):
        read(replace(metered.replay, replay_batch_id=uuid7()))
    assert metered.replay.replay_batch_id not in metered.meter._seen
    assert len(metered.meter._seen) == 1000
