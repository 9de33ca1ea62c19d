"""`playhead`, and `python -m playhead`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    try:
        # Imported modules are never garbage: collecting during imports takes a tenth of the time of `--help`.
        gc.disable()
        # Inside the `try`: Ctrl-C during imports must not print a traceback.
        from playhead.cli.app import run_program

        gc.freeze()
        gc.enable()
        code = run_program(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        # If Ctrl-C came while Python ran code from a string (creating a dataclass does), Python would exit
        # by SIGINT instead of with this code. Everything is closed by now, so exit directly.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
