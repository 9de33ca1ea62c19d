"""Log lines that are held until a server has printed its address."""

from __future__ import annotations

import logging
import sys

import pytest

from playhead.workers import hold_logs


def test_held_lines_and_the_following_lines_get_the_trace_that_is_set_meanwhile(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(mark)s %(message)s"))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])

    def mark(record: logging.LogRecord) -> bool:
        record.mark = "marked"
        return True

    let_go = hold_logs()
    for one in root.handlers:  # as traces do, when the runtime is opened
        one.addFilter(mark)
    root.warning("early")
    assert capsys.readouterr().err == ""

    let_go()
    assert capsys.readouterr().err == "marked early\n"
    root.warning("late")
    let_go()
    assert capsys.readouterr().err == "marked late\n"
