"""Whether a worker may claim a row: the rule without a database."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.backends._sql_catalog.claims import Decision, decide_claim
from playhead.backends.sql import CANCELLED, COMPLETED, DEAD, PENDING, RETRY, RUNNING

ROW: dict[str, Any] = {
    "state": PENDING,
    "attempt": 0,
    "uncounted_attempts": 0,
    "consecutive_crashes": 0,
    "early": False,
    "holder": None,
    "worker": "me",
    "holder_alive": False,
    "running": True,
    "skipped": False,
    "max_attempts": 3,
    "alone": False,
}
HELD: dict[str, Any] = {"state": RUNNING, "attempt": 1, "holder": "other"}
MINE: dict[str, Any] = {"state": RUNNING, "attempt": 1, "holder": "me", "holder_alive": True}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # A row that waits.
        ({}, Decision("claim", 1)),
        ({"state": RETRY, "attempt": 1}, Decision("claim", 2)),
        ({"state": RETRY, "attempt": 1, "early": True}, Decision("early")),
        # A row that has ended, whatever else is true of it.
        ({"state": COMPLETED}, Decision("closed")),
        ({"state": DEAD, "running": False}, Decision("closed")),
        ({"state": CANCELLED, "attempt": 9}, Decision("closed")),
        # A row of an execution that has ended.
        ({"running": False}, Decision("ended")),
        (HELD | {"running": False}, Decision("ended")),
        (MINE | {"running": False}, Decision("cancel")),
        # A row that another worker holds.
        (HELD | {"holder_alive": True}, Decision("held")),
        (HELD, Decision("claim", 2, crashes=1)),
        # A row that this worker holds: the answer to its claim was lost.
        (MINE, Decision("claim", 1, uncounted=1)),
        (MINE | {"attempt": 3, "uncounted_attempts": 0}, Decision("claim", 3, uncounted=1)),
        # The last attempts.
        ({"state": RETRY, "attempt": 2}, Decision("claim", 3)),
        ({"state": RETRY, "attempt": 3, "uncounted_attempts": 1}, Decision("claim", 3)),
        # The last attempt after a crash runs alone.
        (HELD | {"attempt": 2}, Decision("suspect")),
        (HELD | {"attempt": 2, "alone": True}, Decision("claim", 3, crashes=1)),
        ({"state": RETRY, "attempt": 2, "consecutive_crashes": 1}, Decision("suspect")),
        # A worker that died in a last attempt that did not run alone: one more attempt.
        (HELD | {"attempt": 3}, Decision("suspect")),
        (HELD | {"attempt": 3, "alone": True}, Decision("claim", 4, crashes=1)),
        (HELD | {"max_attempts": 1, "alone": True}, Decision("claim", 2, crashes=1)),
        ({"state": RETRY, "attempt": 4, "uncounted_attempts": 1, "max_attempts": 1}, Decision("suspect")),
        # A worker that died in an attempt that ran alone.
        (HELD | {"attempt": 3, "consecutive_crashes": 1}, Decision("lost", 4)),
        (HELD | {"attempt": 4, "consecutive_crashes": 1}, Decision("lost", 5)),
        (HELD | {"attempt": 2, "consecutive_crashes": 1, "max_attempts": 1}, Decision("lost", 3)),
        (HELD | {"attempt": 2, "max_attempts": 1}, Decision("lost", 3)),
        (MINE | {"attempt": 4, "consecutive_crashes": 1, "alone": True}, Decision("claim", 4, 1, 1)),
        # A suspected poison message.
        (HELD | {"consecutive_crashes": 1}, Decision("suspect")),
        (HELD | {"consecutive_crashes": 1, "alone": True}, Decision("claim", 2, crashes=2)),
        ({"state": RETRY, "attempt": 2, "consecutive_crashes": 2}, Decision("suspect")),
        # A row in a route that its replay skips, however often it was tried.
        ({"skipped": True}, Decision("skipped")),
        ({"state": RETRY, "attempt": 1, "early": True, "skipped": True}, Decision("skipped")),
        (HELD | {"attempt": 3, "consecutive_crashes": 1, "skipped": True}, Decision("skipped")),
        (MINE | {"skipped": True}, Decision("skipped")),
        (HELD | {"holder_alive": True, "skipped": True}, Decision("held")),
        ({"running": False, "skipped": True}, Decision("ended")),
        ({"state": COMPLETED, "skipped": True}, Decision("closed")),
        # Which reason comes first.
        ({"state": RETRY, "attempt": 3, "early": True, "consecutive_crashes": 2}, Decision("early")),
        ({"state": RETRY, "attempt": 3, "consecutive_crashes": 2}, Decision("lost", 4)),
        (HELD | {"attempt": 3, "holder_alive": True}, Decision("held")),
    ],
)
def test_a_claim_is_decided_by_the_row_its_holder_and_its_execution(row: dict[str, Any], expected: Decision):
    assert decide_claim(**ROW | row) == expected
