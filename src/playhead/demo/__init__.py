"""`playhead demo`: a pipeline run, changed and replayed in front of the reader, in under a minute.

It starts a server and a worker of its own on a home of its own, and from then on does what any other
program could: it speaks HTTP, and it calls the command line. Nothing in here reaches into the engine.
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
        dir: where pages, home and logs go; `demo` in the working directory when None. What is there
            already is kept, so a second demo adds to the first.
        as_json: only the figures as one JSON object on stdout; the story goes to stderr.
        settings: whose backends it runs on; None: on files in `dir`, whatever a caller has set for a
            Playhead of theirs.

    Raises:
        PlayheadError: a step failed; its text says which, and where the logs are.
        KeyboardInterrupt: after both processes have been stopped.
    """
    # rich and httpx take a quarter of a second to import; `playhead --help` passes by here.
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
    """Leave by the same way as Ctrl-C, so that no process of ours stays behind."""
    raise KeyboardInterrupt
