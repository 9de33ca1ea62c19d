"""Demo data for tests and screenshots: real processes, and only requests that a user can send."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from playhead.ids import uuid7
from tests.acceptance.processes import Deployment, Process, client, open_deployment
from tests.browser import demo_inputs, extremes

STEPS: Final = Path(__file__).with_name("demo_steps.py")
SETTINGS: Final = {"HEARTBEAT_SECONDS": "0.5", "LEASE_SECONDS": "5", "VISIBILITY_SECONDS": "20"}
"""A process that is slow for a moment is not taken for dead."""


@dataclass
class Demo:
    """A deployment with demo data.

    Attributes:
        deployment: the server and its workers.
        steps: the file of adapters that the processes load.
        pages: number of inputs of the handbook.
        stale: a suspended worker, with the steps from before the fix.
        ids: ids by name, for the URLs of pages: `url("/executions/{run}")`.
    """

    deployment: Deployment
    steps: Path
    pages: int
    stale: Process | None = None
    ids: dict[str, str] = field(default_factory=dict)

    def url(self, path: str) -> str:
        """Return the path of a page. Names in braces are replaced by ids."""
        return path.format_map(self.ids)

    def handbook(self, level: int) -> None:
        """Apply a version of the handbook's config."""
        self.deployment.apply(demo_inputs.HANDBOOK.replace("LEVEL", str(level)))

    def run(
        self, name: str, config: str, inputs: dict[str, bytes], tag: str = "", *, wait: bool = True
    ) -> str:
        """Start a run, keep its id under a name, and wait until it has ended."""
        self.ids[name] = execution = self.deployment.run(config, inputs, tag=tag)
        if wait:
            self.deployment.ended(execution)
        return execution

    def replay(
        self, name: str, source: str, stage: str, route: str, path: str | None = None, **body: Any
    ) -> Any:
        """Replay a stage of the execution with this name, and wait until the replay has ended.

        Its ids are kept under its name, and under `{name}_batch`.
        """
        wait = body.pop("wait", True)
        headers = {} if wait else {"Prefer": "respond-async"}
        found = self.deployment.replay(self.ids[source], stage, route, path, headers=headers, **body)
        self.ids[f"{name}_batch"] = batch = found["replay_batch_id"]
        self.ids[name] = str(self.deployment.get(f"/replays/{batch}")["execution_id"])
        if wait:
            self.deployment.ended(self.ids[name])
        return found

    def checked(
        self, name: str, source: str, stage: str, route: str, path: str | None = None, **body: Any
    ) -> None:
        """Replay a stage of the execution with this name, and wait until a check has paused it."""
        self.replay(name, source, stage, route, path, wait=False, **body)
        batch = f"/replays/{self.ids[f'{name}_batch']}"
        self.deployment.until(lambda: self.deployment.get(batch)["state"] == "paused", "a paused replay")

    def publish(self, dataset: str, execution: str, **body: Any) -> None:
        """Publish the execution with this name, and wait until readers see it."""
        path = f"/datasets/{dataset}/publications"
        made = self.deployment.post(path, json={"executions": [self.ids[execution]], **body})
        self.deployment.until(
            lambda: self.deployment.get(f"{path}/{made['n']}")["state"] == "published", "a publication"
        )

    def store(
        self, objects: Mapping[str, bytes], sidecars: Mapping[str, bytes] = MappingProxyType({})
    ) -> str:
        """Store objects as another program does, by stage and path. Return the id of their execution."""
        execution = str(uuid7())
        for key, data in {**objects, **{f"{key}.meta.json": data for key, data in sidecars.items()}}.items():
            file = self.deployment.objects / execution / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return execution

    def fix(self) -> None:
        """Install the fixed steps, as an operator does before a replay."""
        self.steps.write_text(STEPS.read_text().replace('SECTIONS = "1"', 'SECTIONS = "2"'))

    @contextmanager
    def stale_worker(self) -> Iterator[Process]:
        """Resume a worker that has loaded the steps from before the fix, for the route `segment`."""
        assert self.stale
        self.stale.resume()
        self.deployment.until(lambda: self._runs(self.stale), "the stale worker to return")
        try:
            yield self.stale
        finally:
            self.suspend(self.stale)
            self.deployment.until(lambda: not self._runs(self.stale), "the stale worker to be missed")

    def suspend(self, worker: Process) -> None:
        """Suspend a worker at a moment at which it holds no lock of the database."""
        while True:
            worker.pause()
            with closing(sqlite3.connect(self.deployment.home / "playhead.db", timeout=1)) as con:
                try:
                    con.execute("BEGIN IMMEDIATE")
                    con.rollback()
                    return
                except sqlite3.OperationalError:
                    worker.resume()

    def _runs(self, worker: Process | None) -> bool:
        assert worker
        return any(one["pid"] == worker.popen.pid for one in self.deployment.items("/workers"))

    def advance(self, name: str, share: float) -> None:
        """Publish this share of the objects of a paced replay, and go on as slowly as before."""
        path = f"/replays/{self.ids[f'{name}_batch']}"
        pace = self.deployment.get(path)["pace"]
        self._pace(path, {"rate": 40})
        self.deployment.until(lambda: self._share(path) >= share, "a replay to advance")
        self._pace(path, pace)

    def _share(self, path: str) -> float:
        found = self.deployment.get(path)
        return float(found["objects_published"] / found["objects_found"])

    def _pace(self, path: str, pace: Any) -> None:
        with client(f"{self.deployment.url}/api/v1") as http:
            http.put(f"{path}/pace", json=pace).raise_for_status()


@contextmanager
def open_demo(pages: int = 40, *, with_extremes: bool = False) -> Iterator[Demo]:
    """Yield a running deployment with all the demo data. It ends with the block.

    Args:
        pages: number of inputs of the handbook.
        with_extremes: whether to add the data at the limits, which no picture of the documentation shows.
    """
    with open_deployment(adapters=STEPS, **SETTINGS) as deployment:
        steps = deployment.folder / "handbook_steps.py"
        steps.write_text(STEPS.read_text())
        deployment.environment = {**deployment.environment, "PLAYHEAD_ADAPTERS": str(steps)}
        demo = Demo(deployment, steps, pages)
        _fill(demo, with_extremes=with_extremes)
        yield demo


def _fill(demo: Demo, *, with_extremes: bool) -> None:
    deployment = demo.deployment
    inputs = demo_inputs.handbook(demo.pages)
    server, old = deployment.serve(), deployment.worker()
    demo.handbook(1)
    demo.handbook(2)
    demo.run("earlier", "handbook", dict(list(inputs.items())[: demo.pages // 2]), "nightly")
    demo.run("run", "handbook", inputs, "nightly")
    if with_extremes:
        extremes.add(demo)
    server.stop()
    old.stop()
    demo.stale = deployment.worker("--route", "segment")
    demo.suspend(demo.stale)

    demo.fix()
    # The workers lack one adapter, so its queue has no worker.
    sounds = demo.steps.with_name("sound_steps.py")
    sounds.write_text(demo_inputs.SOUND_STEPS)
    deployment.serve(settings={"ADAPTERS": f"{demo.steps},{sounds}"})
    deployment.worker()
    demo.handbook(3)
    demo.handbook(2)
    why = "try sections 2 on the guide first"
    demo.replay(
        "guide", "run", "markdown_converted", "segment", "guide", reason=why, effects={"embed": "skip"}
    )
    demo.replay(
        "replay", "run", "markdown_converted", "segment", reason="sections 2: a heading may have no text"
    )
    why = "larger sections for the search"
    demo.replay("larger", "run", "input", "convert", "legacy/1998", reason=why, config_version=3)
    demo.replay("second", "replay", "segments", "embed", "guide", reason="vectors of the new sections")
    demo.replay("third", "second", "vectors", "push_vectors", "guide", reason="the search lost its index")

    deployment.apply(demo_inputs.LIBRARY)
    demo.run("library", "library", demo_inputs.library(), "all-kinds")
    demo.publish("library", "library", reason="the first books")
    demo.publish("library", "library", reason="the same books again")
    deployment.apply(demo_inputs.LETTERS)
    demo.run("letters", "letters", {f"letter-{n}.txt": b"Dear reader,\n" for n in range(3)})
    deployment.apply(demo_inputs.SOUNDS)
    demo.run("sounds", "sounds", {"interview.wav": b"RIFF"}, wait=False)
    deployment.apply(demo_inputs.wide(len(extremes.POSTING) if with_extremes else 1))
    demo.run("wide", "warehouse", {"order.json": b'{"order": 1}'})
    pages = {f"pages/{Path(path).name}": data for path, data in list(inputs.items())[:4]}
    demo.ids["adopted"] = demo.store(pages)

    # So slow that it publishes only a few messages while the tests run.
    slow: dict[str, Any] = {"pace": {"rate": 0.02}, "wait": False}
    demo.replay("paced", "run", "input", "convert", reason="after the move to the new server", **slow)
    demo.replay("paused", "earlier", "input", "convert", reason="wait for the service", **slow)
    deployment.post(f"/replays/{demo.ids['paused_batch']}/pause")
    why = "the fix, on a few old pages first"
    demo.checked("canary", "run", "input", "convert", "legacy/1998", reason=why, canary={"objects": 8})
    dead = next(deployment.items("/dead-letters", execution_id=demo.ids["run"], route="segment"))
    demo.ids |= {"dead": dead["correlation_id"], "group": dead["group"]}
    demo.ids["cause"] = next(deployment.items("/causes"))["id"]
    third = next(deployment.items(f"/lineage/batch/{demo.ids['third_batch']}"))
    demo.ids["message"] = third["correlation_id"]
    if with_extremes:
        extremes.add_replay(demo, slow)
