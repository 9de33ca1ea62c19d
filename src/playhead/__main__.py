"""`playhead`, and `python -m playhead`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    try:
        # Within the fence: even this early, Ctrl-C is no reason for a traceback.
        from playhead.cli.app import run_program

        return run_program(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
