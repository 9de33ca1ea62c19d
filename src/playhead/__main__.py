"""`playhead`, and `python -m playhead`."""

from __future__ import annotations

import sys

from playhead.cli.app import run_program


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    return run_program(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
