"""What all tests need of the process that runs them."""

from __future__ import annotations

import signal

# A shell starts what stands before `&` with SIGINT ignored, and every child inherits that: a test that
# presses Ctrl-C would then wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
