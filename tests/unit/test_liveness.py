"""Which processes count as dead, and when a process that was silent itself declares others dead."""

from __future__ import annotations

import os
import subprocess
import sys

from playhead.liveness import Liveness, may_live
from tests.lab import Clock

BEAT = 2.0
DEAD_AFTER = 5 * BEAT


def test_a_process_is_dead_after_five_missed_beats():
    assert Liveness(BEAT, Clock()).seconds == DEAD_AFTER


def test_a_process_that_beats_in_time_gives_its_peers_no_more_than_five_beats():
    time = Clock()
    liveness = Liveness(BEAT, time)
    for _ in range(10):
        liveness.record_beat()
        time.now += BEAT
        assert liveness.seconds == DEAD_AFTER


def test_a_silent_process_gives_its_peers_the_time_of_its_own_silence_in_addition():
    time = Clock()
    liveness = Liveness(BEAT, time)
    liveness.record_beat()
    time.now += 60
    assert liveness.seconds == DEAD_AFTER + 60


def test_after_its_silence_a_process_gives_its_peers_five_beats_to_beat_again():
    time = Clock()
    liveness = Liveness(BEAT, time)
    liveness.record_beat()
    time.now += 60
    liveness.record_beat()
    for waited in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        # The same moment each time: five beats before the silence began.
        assert liveness.seconds == DEAD_AFTER + 60 + waited * BEAT
        time.now += BEAT
        liveness.record_beat()
    assert liveness.seconds == DEAD_AFTER


def test_a_silence_that_follows_before_peers_could_beat_continues_the_one_before():
    time = Clock()
    liveness = Liveness(BEAT, time)
    liveness.record_beat()
    time.now += 60
    liveness.record_beat()
    time.now += 2
    liveness.record_beat()
    time.now += 8
    assert liveness.seconds == DEAD_AFTER + 70
    liveness.record_beat()
    assert liveness.seconds == DEAD_AFTER + 70


def test_repeated_silences_do_not_keep_dead_peers_alive_forever():
    time = Clock()
    liveness = Liveness(BEAT, time)
    for _ in range(20):
        liveness.record_beat()
        time.now += 3 * BEAT
        assert liveness.seconds <= 4 * DEAD_AFTER


def test_a_new_process_gives_silent_peers_five_beats():
    time = Clock()
    liveness = Liveness(BEAT, time)
    liveness.record_beat(60)
    assert liveness.seconds == DEAD_AFTER + 60
    for _ in range(6):
        time.now += BEAT
        liveness.record_beat()
    assert liveness.seconds == DEAD_AFTER


def test_a_new_process_whose_peers_all_beat_declares_peers_dead_at_once():
    for longest in (None, 0.0, 2 * BEAT):
        liveness = Liveness(BEAT, Clock())
        liveness.record_beat(longest)
        assert liveness.seconds == DEAD_AFTER


def test_a_process_of_this_machine_that_is_gone_is_dead_and_one_of_another_machine_may_live():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not may_live("here", gone.pid, here="here")
    assert may_live("elsewhere", gone.pid, here="here")
    assert may_live("here", os.getpid(), here="here")
    assert may_live("here", 1, here="here")
