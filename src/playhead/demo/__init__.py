"""`playhead demo`: run a pipeline, change it and replay a stage, in about a minute.

The demo starts its own server and worker on its own home. It then uses only HTTP and the command line, like
any other program; nothing here imports services or rooms.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from playhead.settings import Settings

_PLACES = ("store", "broker", "catalog", "queue_prefix")


def main(dir: str | None, as_json: bool, settings: Settings | None = None) -> int:
    """Run the demo and return its exit code.

    Args:
        dir: the folder of pages, home and logs; None: `demo` in the working directory. Existing files are
            kept, so a second demo adds to the first.
        as_json: print only the figures to stdout, as one JSON object; the story goes to stderr.
        settings: the settings whose backends the demo uses; None: files in `dir`, whatever else is set.

    Raises:
        PlayheadError: a step failed; the text names the step and the logs.
        KeyboardInterrupt: after both processes have been stopped.
    """
    # rich and httpx take a quarter of a second to import, and `playhead --help` imports this module.
    from rich.console import Console

    from playhead.demo.processes import playground
    from playhead.demo.tour import Tour

    signal.signal(signal.SIGTERM, _stop)
    began = time.monotonic()
    folder = Path(dir or "demo")
    story = Console(stderr=as_json, highlight=False, soft_wrap=True)
    places = {name: str(value) for name in _PLACES if settings and (value := getattr(settings, name))}
    with playground(folder, environment={f"PLAYHEAD_{name.upper()}": v for name, v in places.items()}) as at:
        result = Tour(folder, at, story).run()
    result["seconds"] = round(time.monotonic() - began, 1)
    story.print(f"\nDone in {result['seconds']} s; server and worker are stopped.")
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    return 0


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """Exit in the same way as on Ctrl-C, so that no process of the demo remains."""
    raise KeyboardInterrupt
