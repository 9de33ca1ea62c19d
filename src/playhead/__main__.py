"""`playhead`, and `python -m playhead`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    try:
        # What imports leave is no garbage: to look through it again and again takes a tenth of `--help`.
        gc.disable()
        # Within the fence: even this early, Ctrl-C is no reason for a traceback.
        from playhead.cli.app import run_program

        gc.freeze()
        gc.enable()
        code = run_program(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        # Python ends itself by SIGINT, and not with our code, if Ctrl-C ever came while it ran code from a
        # string, as imports do that make dataclasses. All is closed by now: leave without asking it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
