"""A step that calls `os._exit` is reported before its process ends."""

from __future__ import annotations

import os
import subprocess
import sys

from playhead.early_exit import REAL_EXIT, reported

SCRIPT = """
import os, sys
from playhead.early_exit import reported

with reported(lambda call: print(call, flush=True)):
    if os.fork() == 0:
        os._exit(7)
    print("child", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    os._exit(0)
"""


def test_a_process_that_is_ended_is_reported_and_fails_but_not_one_that_it_has_forked():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "child 7\n<string>, line 9: os._exit(0)\n"


def test_the_function_is_the_original_one_afterwards():
    with reported(lambda call: None):
        assert os._exit is not REAL_EXIT
    assert os._exit is REAL_EXIT
