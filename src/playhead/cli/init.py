"""`init`: write the files of a small example pipeline into a folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Final

import typer

from playhead.cli import output
from playhead.cli.command import command
from playhead.cli.session import Session, Usage

_SETTINGS: Final = """\
# Settings of Playhead for commands in this folder and below. Each setting can also be an environment
# variable, such as PLAYHEAD_ADAPTERS.

# The Python files with your steps. Write each step to its own file: a run with --changed-since repeats all
# steps of a file that has changed.
adapters = ["./shorten.py"]
"""

_PIPELINE: Final = """\
# A pipeline: routes, and the steps of each. Check it with: playhead config validate pipeline.yaml
version: "1.0"
name: pages
entry: convert              # the route that gets the inputs of a run

routes:
  convert:
    adapters:
      - type: html_to_markdown      # built in; `playhead adapters` lists all steps
    outbound:
      stage: markdown               # the outputs of this route are stored under this name ...
      to: [shorten]                 # ... and are sent to these routes

  shorten:
    adapters:
      - type: shorten               # defined in shorten.py
        config: {words: 8}
    outbound:
      stage: short
      to: [index]
    error_handling: {max_attempts: 3, retry_delay_seconds: 2}

  index:
    adapters:
      - type: sqlite_search         # a route without a stage: it fills a search index
        config: {path: search.db}

datasets:
  docs: {publish: automatic}  # what readers see: each run is published, a replay when you say so
"""

_STEP: Final = '''\
"""Your own step. A step gets an item and returns text, bytes, several of them, or None."""

from pydantic import BaseModel, Field

from playhead import Item, adapter


class ShortenConfig(BaseModel):
    words: int = Field(8, ge=1, description="How many words to keep.")


@adapter("shorten", produces="text/markdown")
def shorten(item: Item, config: ShortenConfig) -> str:
    """Keep the first words of a text."""
    return " ".join(item.text.split()[: config.words])
'''

_PAGE: Final = "<html><head><title>{0}</title></head><body><h1>{0}</h1><p>{1}</p></body></html>\n"

FILES: Final = {
    "playhead.toml": _SETTINGS,
    "pipeline.yaml": _PIPELINE,
    "shorten.py": _STEP,
    "inputs/run.html": _PAGE.format(
        "Run", "A run sends files through a pipeline and stores the outputs of each route."
    ),
    "inputs/replay.html": _PAGE.format(
        "Replay", "A replay starts at a stored stage, so earlier steps do not run again."
    ),
    "inputs/lineage.html": _PAGE.format(
        "Lineage", "Lineage shows the step and the input from which an output was made."
    ),
}

NEXT: Final = (
    "playhead run pipeline.yaml inputs/ --tag first",
    "playhead search search.db replay",
    "playhead config apply pipeline.yaml",
    "playhead replay tag:first markdown shorten",
    "playhead worker --until-idle",
    "playhead diff tag:first latest:replay",
    "playhead publish docs latest:replay",
    "playhead search search.db replay",
    "playhead rollback docs",
)


@command("init", example="playhead init my-pipeline", only_here="it writes files on this machine")
def init(
    s: Session,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to write to; it is created if missing.")
    ] = Path(),
) -> None:
    """Write the files of a small example pipeline.

    Writes a commented config with a search index, a file with one step, settings that load this step, and
    three input pages.
    If one of the files exists, the command writes nothing.
    """
    for name in FILES:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise Usage(
                f"{folder / name} exists, so nothing was written; name another folder: playhead init DIR"
            )
    for name, text in FILES.items():
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as exc:
            raise Usage(
                f"cannot write {folder / name}: {exc.strerror}; name another folder: playhead init DIR"
            ) from exc
    enter = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    steps = [*enter, *NEXT]
    if s.json:
        output.emit({"folder": str(folder.resolve()), "files": list(FILES), "next": steps})
        return
    for name in FILES:
        output.line(f"wrote {folder / name}")
    output.block("\nNext:")
    for step in steps:
        output.line(f"  {step}" + ("  # after a change, such as `words: 4`" if " apply " in step else ""))
