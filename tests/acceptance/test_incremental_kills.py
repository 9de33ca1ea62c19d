"""After a `kill -9` at any point, a run with `--changed-since` has the result of an undisturbed one.

The command does everything itself: it stores the inputs, takes over results, publishes, and works. It dies,
and a worker does the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from uuid import UUID

import pytest

from tests.acceptance import kills
from tests.acceptance.deployments import KINDS, Urls, open_server_deployment
from tests.acceptance.processes import Deployment, open_deployment
from tests.acceptance.stand import Job, Stand

_SOURCE: Final = """
version: "1.0"
name: parts
entry: split
routes:
  split:
    adapters: [{type: thirds}]
    outbound: {stage: parts, to: [shout, measure]}
  shout:
    adapters: [{type: shout}]
    outbound: {stage: loud}
  measure:
    adapters: [{type: measure}]
    outbound: {stage: lengths}
"""
_NEW_SHOUT: Final = "{type: shout, condition: {field: content_type, operator: exists}}"
"""Another declaration of the step, with the same outputs."""
_INPUTS: Final = 30
_TWO_PAGES: Final = 210
"""Inputs that are more than one page of what is taken over."""
_CHANGED: Final = 5
_OPEN_PRUNINGS: Final = "SELECT 1 FROM prunings WHERE deleted_at IS NULL"

POINTS: Final = sorted({case.point for case in kills.CASES})
LATER: Final = {
    **{f"replay.{point}": 2 for point in ("recorded", "published", "marked")},
    **{f"worker.{point}": 50 for point in ("claimed", "bound", "object", "committed", "marked")},
}
CASES: Final = [(point, LATER.get(point, 1)) for point in POINTS if point != "replay.created"]


@dataclass(frozen=True)
class Picture:
    """An execution without ids and times.

    Attributes:
        objects: by path: sha256, and whether the bytes are those of the earlier run.
        rows: numbers of messages by route, state and path of the input.
    """

    status: str
    counts: dict[str, int]
    objects: dict[str, tuple[str, bool]]
    rows: Counter[tuple[str, str, str]]


class Changed:
    """A stand with a finished run, and the inputs of the next one. No process is running.

    Attributes:
        sources: the executions that have stored what is taken over.
    """

    pipeline = _SOURCE

    def __init__(self, deployment: Deployment, inputs: int = _INPUTS) -> None:
        self.deployment = deployment
        self.stand = Stand(deployment)
        self.inputs = deployment.folder / "inputs"
        self.inputs.mkdir()
        for n in range(inputs):
            (self.inputs / f"{n:03}.txt").write_text(f"text {n}")
        config = deployment.folder / "parts.yaml"
        config.write_text(self.pipeline)
        self.source = str(deployment.cli("run", str(config), str(self.inputs))["execution_id"])
        self.sources = {self.source}
        config.write_text(self.pipeline.replace("{type: shout}", _NEW_SHOUT))
        deployment.cli("config", "apply", str(config))
        self.prepare()
        for n in range(_CHANGED):
            at = inputs // _CHANGED * n
            (self.inputs / f"{at:03}.txt").write_text(f"changed {n}")
            (self.inputs / f"{at + 1:03}.txt").unlink()
            (self.inputs / f"new-{n}.txt").write_text(f"new {n}")
        self.command = ("run", "parts", str(self.inputs), "--changed-since", self.source)
        self.whole = str(deployment.cli(*self.command)["execution_id"])
        self.undisturbed = self.picture(self.whole)

    def prepare(self) -> None:
        """Called when the new config is applied."""

    def killed(self, point: str, n: int) -> str:
        """Let the command die; return the run once a worker has ended it."""
        deployment, before = self.deployment, self.executions()
        self.stand.strike("cli", f"{point}:{n}", Job(self.command))
        deployment.worker()
        try:
            running = "SELECT 1 FROM executions WHERE status = 'running'"
            deployment.until(lambda: not deployment.rows(running), "the run to end")
            assert self.executions() == before + 1
            ended = deployment.cli("show", "latest")
            if point == "submit.stored":  # it was not sealed
                assert (ended["status"], ended["counts"]["total"]) == ("failed", 0)
                ended = deployment.cli(*self.command)
            return str(ended["execution_id"])
        finally:
            self.stand.end()

    def executions(self) -> int:
        return len(self.deployment.rows("SELECT 1 FROM executions"))

    def picture(self, execution: str) -> Picture:
        """Return what the catalog has of a run, compared with the store and the notes of the steps."""
        ask = self.deployment.rows
        outputs: list[Any] = ask(
            "SELECT o.key, o.sha256, o.location FROM outputs o WHERE o.state = 1 AND o.key > ? AND o.key < ?",
            *(f"{execution}/", f"{execution}0"),
        )
        own = {row["key"] for row in outputs if row["location"] is None}
        stored = self.deployment.stored(execution)
        assert {key for key in stored if not key.endswith(".meta.json")} == own
        locations = {row["location"].partition("/")[0] for row in outputs if row["location"]}
        assert locations <= self.sources
        messages: list[Any] = ask(
            "SELECT m.id, l.route, m.state, m.object_key, m.original FROM messages m "
            "JOIN lanes l ON l.id = m.lane JOIN executions e ON e.n = m.execution WHERE e.id = ?",
            UUID(execution),
        )
        ids = {
            str(row["id"] if isinstance(row["id"], UUID) else UUID(bytes=row["id"])): row for row in messages
        }
        for line in self.deployment.noted(execution):
            assert ids[line.split()[2]]["original"] is None, "nothing that is taken over is processed"
        shown = self.deployment.cli("show", execution)
        return Picture(
            shown["status"],
            shown["counts"],
            {_path(row["key"]): (bytes(row["sha256"]).hex(), row["location"] is not None) for row in outputs},
            Counter((row["route"], str(row["state"]), _path(row["object_key"])) for row in messages),
        )


def _path(key: str) -> str:
    return key.partition("/")[2]


@pytest.fixture(scope="module")
def changes() -> Iterator[Callable[[int], Changed]]:
    """A function that returns the stand with a number of inputs."""
    with ExitStack() as stack:
        yield cache(lambda inputs: Changed(stack.enter_context(open_deployment()), inputs))


@pytest.mark.slow
def test_an_undisturbed_run_takes_over_what_is_valid(changes: Callable[[int], Changed]) -> None:
    changed = changes(_INPUTS)
    unchanged = _INPUTS - 2 * _CHANGED
    processed = 2 * _CHANGED
    counts = changed.undisturbed.counts
    assert counts["total"] == counts["completed"] == 7 * (unchanged + processed)
    assert counts["taken_over"] == (1 + 3) * unchanged
    own = Counter(
        path.partition("/")[0] for path, (_, there) in changed.undisturbed.objects.items() if not there
    )
    assert own == {"input": processed, "parts": 3 * processed, "lengths": 3 * processed, "loud": 3 * _INPUTS}


@pytest.mark.slow
@pytest.mark.parametrize(("point", "n"), CASES)
def test_a_killed_run_ends_as_an_undisturbed_one(
    changes: Callable[[int], Changed], point: str, n: int
) -> None:
    changed = changes(_TWO_PAGES if n == 2 else _INPUTS)
    assert changed.picture(changed.killed(point, n)) == changed.undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("point", ["prune.marked", "prune.deleted"])
def test_a_killed_prune_of_references_deletes_the_bytes_in_the_end(point: str) -> None:
    with open_deployment() as deployment:
        changed = Changed(deployment, inputs=20)
        run = changed.whole
        before = changed.picture(run)
        deployment.cli("prune", changed.source, "--yes")
        kept = [key for key in deployment.stored(changed.source) if not key.endswith(".meta.json")]
        assert len(kept) == sum(is_shared for _, is_shared in before.objects.values())
        assert changed.picture(run).objects == before.objects

        deployment.struck(deployment.start("prune", run, "--yes", fault=f"{point}:1"))
        deployment.worker()
        deployment.until(lambda: not deployment.rows(_OPEN_PRUNINGS), "the prune to be continued")

        assert deployment.stored(run) == deployment.stored(changed.source) == {}


@pytest.mark.slow
def test_a_killed_run_on_servers_ends_as_an_undisturbed_one() -> None:
    with open_server_deployment(Urls.shared(KINDS["postgres"])) as deployment:
        changed = Changed(deployment, inputs=20)
        assert changed.picture(changed.killed("replay.recorded", 1)) == changed.undisturbed
