"""The story of the demo, step by step."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from playhead.demo.client import Client
from playhead.demo.processes import DemoFailed, Playground
from playhead.settings import without_password

QUESTION: Final = "compare two files line by line"
INDEX: Final = "search.db"
BEFORE: Final = 1200
AFTER: Final = 600
_NO_PROGRESS_SECONDS = 60.0


class Tour:
    """The demo in `folder`, printed to `story`, on the processes of `at`.

    Each step is a method that can be called on its own, in order; `run` calls them all.
    """

    def __init__(self, folder: Path, at: Playground, story: Console) -> None:
        self.folder = folder
        self.at = at
        self.story = story
        self.api = Client(at.url)

    def run(self) -> dict[str, Any]:
        """Run all steps and return the figures (all of `playhead demo --json` except `seconds`)."""
        try:
            elsewhere = [name for name in ("store", "broker", "catalog") if self._is_elsewhere(name)]
            files = f"{', '.join(elsewhere)} as set, the rest" if elsewhere else "all files"
            self.story.print(f"Server on {self.at.url}, one worker, {files} in {self._shown(self.folder)}/")
            pages = self.pages()
            first = self.first_run(pages)
            before = self.stored(first, "segments")
            shown = self.published(first)
            self.ask(shown)
            replay = self.replay(first)
            again = replay["execution_id"]
            after = self.stored(again, "segments")
            converted_again = self.conversions(first, again)
            self.compare(first, again)
            new = self.publish(again)
            hit = self.ask(new)
            self.trace(hit["key"])
            self.roll_back(shown)
            self.ask(shown)
            self.next_steps(first, replay)
        finally:
            self.api.close()
        return {
            "execution_id": first,
            "pages": len(pages),
            "segments_before": before,
            "segments_after": after,
            "converted_again": converted_again,
            "replay": replay,
            "publications": [shown, new],
        }

    def pages(self) -> list[Path]:
        """Write the pages in a separate process, and return them in order."""
        self._step("Pages", "pydoc writes the standard library as HTML")
        folder = self.folder / "pages"
        # A fixed hash seed, so that the pages are the same in every run: sets are printed in them.
        wrote = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-m", "playhead.demo.pages", str(folder.resolve())],
            env={**self.at.environment, "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        pages = sorted(folder.glob("*.html"))
        if wrote.returncode or not pages:
            raise DemoFailed(f"no pages in {folder}: {wrote.stderr.strip()[-500:] or 'pydoc wrote none'}")
        self.story.print(f"{len(pages)} pages in {self._shown(folder)}/")
        return pages

    def first_run(self, pages: list[Path]) -> str:
        """Apply the config, run it over the pages, and return the execution when all is indexed."""
        self._step("Run", "convert → segment → index; each stage is stored")
        self._apply(BEFORE)
        self.api.post("/datasets/docs/release")  # the last demo has rolled back
        execution = self.api.post(
            "/configs/docs/run",
            files=[("files", (page.name, page.read_bytes(), "text/html")) for page in pages],
            data={"tags": ["demo"]},
        )["execution_id"]
        self._watch(execution)
        for stage in self.api.get(f"/executions/{execution}/stages", limit=1000)["items"]:
            self.story.print(
                f"  {stage['stage']:<20}{stage['objects']:>7,} objects{stage['bytes']:>13,} bytes"
            )
        return str(execution)

    def published(self, execution: str) -> int:
        """Wait until readers see an execution, also in the index; return the number of the publication."""
        began = time.monotonic()
        while time.monotonic() - began < _NO_PROGRESS_SECONDS:
            dataset = self.api.get("/datasets/docs")
            found = self.api.get("/datasets/docs/publications", all=True, limit=1)["items"]
            if found and any(part["execution_id"] == execution for part in found[0]["parts"]):
                if refusal := found[0]["refusal"]:
                    raise DemoFailed(f"{refusal['code']}: {refusal['detail']}")
                if dataset["current"] == found[0]["n"] and _is_shown(dataset):
                    self.story.print(f"Published: readers see publication {found[0]['n']} of docs")
                    return int(found[0]["n"])
            self.at.check()
            time.sleep(0.2)
        raise DemoFailed(f"execution {execution} was not published in {_NO_PROGRESS_SECONDS:.0f} s")

    def compare(self, first: str, again: str) -> None:
        """Show how the segments of the replay differ from those that readers see."""
        self._step("Compare", "the segments of the replay with those that readers still see")
        stages = self.api.get(f"/executions/{first}/diff/{again}")["stages"]
        counts = next(one for one in stages if one["stage"] == "segments")
        states = ("same", "changed", "added", "missing")
        self.story.print("  segments  " + ", ".join(f"{counts[one]:,} {one}" for one in states))

    def publish(self, execution: str) -> int:
        """Publish the replay, and return the number of the publication."""
        self._step("Publish", "readers see the replay; until now they saw the run")
        request = {"executions": [execution], "reason": f"segments of {AFTER} characters"}
        self.story.print("POST /api/v1/datasets/docs/publications", style="bold")
        self._json(request)
        self.api.post("/datasets/docs/publications", json=request)
        return self.published(execution)

    def roll_back(self, n: int) -> None:
        """Show readers the first publication again."""
        self._step("Roll back", f"to publication {n}: one row changes, whatever the size")
        self.api.post("/datasets/docs/rollback", json={"to": n})
        while not _is_shown(self.api.get("/datasets/docs")):
            self.at.check()
            time.sleep(0.1)

    def replay(self, execution: str) -> Any:
        """Make the segments smaller, replay the stored markdown into `segment`, and return the response."""
        self._step("Replay", f"segments of {AFTER} instead of {BEFORE} characters, from the stored markdown")
        self._apply(AFTER)
        request = {"from_execution_id": execution, "from_stage": "markdown_converted", "to_route": "segment"}
        self.story.print("POST /api/v1/replay", style="bold")
        self._json(request)
        answer = self.api.post("/replay", json=request)
        self._json(answer)
        self._watch(answer["execution_id"])
        return answer

    def conversions(self, first: str, again: str) -> int:
        """Return how many pages the replay converted, from its lineage; print what that saved."""
        converted = list(self.api.items(f"/executions/{first}/lineage", route="convert"))
        repeated = sum(1 for _ in self.api.items(f"/executions/{again}/lineage", route="convert"))
        self.story.print(
            f"Pages converted again: [bold]{repeated}[/] of {len(converted)}, by the lineage of the replay. "
            f"That saved the {_busy(converted):.1f} s in which a worker converted them the first time."
        )
        return repeated

    def stored(self, execution: str, stage: str) -> int:
        """Return the number of objects in a stage."""
        stages = self.api.get(f"/executions/{execution}/stages", limit=1000)["items"]
        return int(next((s["objects"] for s in stages if s["stage"] == stage), 0))

    def ask(self, shown: int) -> Any:
        """Query the index with `playhead search`, show the hits and return the best one."""
        self._step("Ask", f'"{QUESTION}", in publication {shown}')
        hits = self.at.command("search", INDEX, *QUESTION.split(), "--limit", "3")
        if not hits["items"]:
            raise DemoFailed(f"the index {INDEX} has no hit for {QUESTION!r} in publication {shown}")
        for hit in hits["items"]:
            self.story.print(f"  {hit['path']}  ({hit['title']})", style="bold", markup=False)
            self.story.print(f"    {' '.join(hit['snippet'].split())}", markup=False)
        return hits["items"][0]

    def trace(self, key: str) -> list[Any]:
        """Follow one object up to its HTML page, across the replay; return the messages."""
        self._step("Lineage", "the page from which the first hit was made")
        made_by = self.api.get("/lineage", object_key=key)["items"][0]["correlation_id"]
        chain = self.api.get(f"/lineage/{made_by}/chain", direction="up", limit=1000)["items"]
        chain.sort(key=lambda link: -link["distance"])
        shown = key
        for link in chain:
            self.story.print(f"  {shown}", markup=False)
            across = " in the execution that was replayed" if link["via"] == "replay" else ""
            self.story.print(f"    made by {link['route']}{across} from", style="dim", markup=False)
            shown = link["input_key"]
        self.story.print(f"  {shown}", markup=False)
        return list(chain)

    def next_steps(self, first: str, replay: dict[str, Any]) -> None:
        """Print three commands to continue with, and the addresses of the pages of both executions."""
        self._step("Next", "from here")
        own = {k: v for k, v in self.at.environment.items() if k.startswith("PLAYHEAD_")}
        for name, value in own.items():
            shown = without_password(value)
            hint = "" if shown == value else "  # with its user and password"
            self.story.print(f"  export {name}={shlex.quote(shown)}{hint}", markup=False)
        playhead = f"{self._program()} --home {shlex.quote(self._shown(self.at.home))}"
        self.story.print(f"  {playhead} show latest", markup=False)
        self.story.print(f"  {playhead} search {INDEX} parse json --limit 3", markup=False)
        self.story.print(f"  {playhead} serve", markup=False)
        site = "http://127.0.0.1:8080"
        self.story.print("  then open these pages in a browser:")
        self.story.print(f"    the run     {site}/executions/{first}", markup=False, soft_wrap=True)
        batch = replay["replay_batch_id"]
        self.story.print(f"    the replay  {site}/replays/{batch}", markup=False, soft_wrap=True)

    def _apply(self, characters: int) -> None:
        """Apply the config with a segment size, and keep it in the folder."""
        template = resources.files("playhead.demo").joinpath("docs.yaml").read_text(encoding="utf-8")
        source = template.replace(f"max_characters: {BEFORE}", f"max_characters: {characters}")
        (self.folder / "docs.yaml").write_text(source, encoding="utf-8")
        applied = self.api.post(
            "/configs", content=source.encode(), headers={"Content-Type": "application/yaml"}
        )
        self.story.print(f"config docs, version {applied['version']}: max_characters {characters}")

    def _watch(self, execution: str) -> None:
        """Draw one bar for each route until the execution has completed."""
        columns = (
            TextColumn("  {task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        bars: dict[str, TaskID] = {}
        done, moved, state = -1, time.monotonic(), self.api.get(f"/executions/{execution}")
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for event in self.api.events(f"/executions/{execution}/events"):
                state = event or state
                for row in event["routes"] if event else ():
                    total = row["counts"]["total"]
                    if row["route"] not in bars:
                        if not total:
                            continue
                        bars[row["route"]] = progress.add_task(row["route"], total=None)
                    progress.update(
                        bars[row["route"]], total=total, completed=total - row["counts"]["pending"]
                    )
                ended = state["counts"]["total"] - state["counts"]["pending"]
                if ended != done:
                    done, moved = ended, time.monotonic()
                elif time.monotonic() - moved > _NO_PROGRESS_SECONDS:
                    raise DemoFailed(
                        f"execution {execution} made no progress for {_NO_PROGRESS_SECONDS:.0f} s"
                    )
                self.at.check()
        if state["status"] == "running":  # the connection was lost
            self.at.check()
            raise DemoFailed("the server ended the connection; run the demo again")
        if state["status"] != "completed":
            raise DemoFailed(
                f"execution {execution} {state['status']} with {state['counts']['failed']} dead letters: "
                f"{self._program()} --home {self._shown(self.at.home)} dead-letters list"
            )

    def _is_elsewhere(self, backend: str) -> bool:
        return f"PLAYHEAD_{backend.upper()}" in self.at.environment

    def _step(self, name: str, about: str) -> None:
        self.story.print(f"\n[bold cyan]{name}[/]  {about}")

    def _json(self, value: Any) -> None:
        self.story.print(json.dumps(value, indent=2), markup=False, style="green")

    @staticmethod
    def _shown(path: Path) -> str:
        """Return a path as typed in the working directory."""
        near = os.path.relpath(path)
        return near if not near.startswith("..") else str(path.resolve())

    def _program(self) -> str:
        """Return how to call `playhead`: pip installs it next to this Python."""
        beside = Path(sys.executable).parent / "playhead"
        return shlex.quote(self._shown(beside)) if beside.exists() else "playhead"


def _is_shown(dataset: Any) -> bool:
    """Whether the index shows what is current."""
    return all(sink["seq"] == dataset["seq"] for sink in dataset["sinks"])


def _busy(rows: list[Any]) -> float:
    """Return the seconds in which at least one message was processed (a worker claims them in batches)."""
    spans = sorted(
        (
            datetime.fromisoformat(row["started_at"]).timestamp(),
            datetime.fromisoformat(row["ended_at"]).timestamp(),
        )
        for row in rows
        if row["started_at"] and row["ended_at"]
    )
    busy, reached = 0.0, 0.0
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return busy
