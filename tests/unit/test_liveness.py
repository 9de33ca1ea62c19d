"""Who is dead: nobody, as long as whoever asks was not heard itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from playhead.liveness import Liveness, may_live

BEAT = 2.0
DEAD_AFTER = 5 * BEAT


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_five_beats_may_be_missed_and_no_more():
    assert Liveness(BEAT, Time()).seconds == DEAD_AFTER


def test_a_process_that_beats_as_it_should_gives_nobody_more_time():
    time = Time()
    liveness = Liveness(BEAT, time)
    for _ in range(10):
        liveness.heard()
        time.now += BEAT
        assert liveness.seconds == DEAD_AFTER


def test_who_is_not_heard_itself_gives_others_all_the_time_it_was_silent():
    time = Time()
    liveness = Liveness(BEAT, time)
    liveness.heard()
    time.now += 60
    assert liveness.seconds == DEAD_AFTER + 60


def test_who_is_heard_again_gives_others_five_beats_to_be_heard_too():
    time = Time()
    liveness = Liveness(BEAT, time)
    liveness.heard()
    time.now += 60
    liveness.heard()
    for waited in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        # Always the same moment: five beats before the silence began.
        assert liveness.seconds == DEAD_AFTER + 60 + waited * BEAT
        time.now += BEAT
        liveness.heard()
    assert liveness.seconds == DEAD_AFTER


def test_a_silence_that_follows_before_others_could_speak_is_the_same():
    time = Time()
    liveness = Liveness(BEAT, time)
    liveness.heard()
    time.now += 60
    liveness.heard()
    time.now += 2
    liveness.heard()
    time.now += 8
    assert liveness.seconds == DEAD_AFTER + 70
    liveness.heard()
    assert liveness.seconds == DEAD_AFTER + 70


def test_one_silence_after_the_other_does_not_keep_the_dead_alive_for_ever():
    time = Time()
    liveness = Liveness(BEAT, time)
    for _ in range(20):
        liveness.heard()
        time.now += 3 * BEAT
        assert liveness.seconds <= 4 * DEAD_AFTER


def test_who_begins_where_somebody_is_not_heard_gives_all_five_beats():
    time = Time()
    liveness = Liveness(BEAT, time)
    liveness.heard(60)
    assert liveness.seconds == DEAD_AFTER + 60
    for _ in range(6):
        time.now += BEAT
        liveness.heard()
    assert liveness.seconds == DEAD_AFTER


def test_who_begins_where_all_are_heard_or_alone_knows_at_once_who_is_dead():
    for longest in (None, 0.0, 2 * BEAT):
        liveness = Liveness(BEAT, Time())
        liveness.heard(longest)
        assert liveness.seconds == DEAD_AFTER


def test_a_process_of_this_machine_that_is_gone_may_not_live_and_any_of_another_may():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not may_live("here", gone.pid, here="here")
    assert may_live("elsewhere", gone.pid, here="here")
    assert may_live("here", os.getpid(), here="here")
    assert may_live("here", 1, here="here")


def test_the_clock_goes_on_when_the_wall_clock_is_set_forward_and_never_back(monkeypatch: pytest.MonkeyPatch):
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall)
    liveness = Liveness(BEAT)
    liveness.heard()
    wall -= 1000
    assert liveness.seconds == DEAD_AFTER
    wall += 60
    assert DEAD_AFTER + 59 < liveness.seconds < DEAD_AFTER + 70
