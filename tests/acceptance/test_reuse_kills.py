"""After a `kill -9` at any point, results are used again exactly where they are the same.

Documents get a new first paragraph, so the paths of all others change. A run, or a replay, of them dies, and
a server and a worker do the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from playhead.model import ROW_STATES
from tests.acceptance import kills
from tests.acceptance.processes import Deployment, open_deployment
from tests.acceptance.stand import Job, Stand
from tests.stored import stored

_SOURCE: Final = """
version: "1.0"
name: loud
entry: split
routes:
  split:
    adapters: [{type: paragraphs}]
    outbound: {stage: parts, to: [shout]}
  shout:
    adapters: [{type: loud}]
    outbound: {stage: loud, to: [again]}
  again:
    adapters: [{type: loud}]
    outbound: {stage: louder}
"""
_DOCUMENTS: Final = 12
_PARAGRAPHS: Final = 4
STEPS: Final = Path(__file__).with_name("reused_steps.py")
_LATER: Final = {f"worker.{point}": 15 for point in ("claimed", "bound", "object", "committed", "marked")}
# The messages that follow those that are taken over are published by their worker, and not by the reconciler.
_POINTS: Final = {case.point for case in kills.CASES} - {"replay.created", "reconciler.published"}
CASES: Final = [(point, _LATER.get(point, 1)) for point in [*sorted(_POINTS), "reuse.indexed"]]


class Edited:
    """A deployment with a finished run. No process is running."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.stand = Stand(deployment)
        self.inputs = deployment.folder / "inputs"
        self.inputs.mkdir()
        self.texts = {
            f"{n:02}.txt": [f"paragraph {m} of {n}" for m in range(_PARAGRAPHS)] for n in range(_DOCUMENTS)
        }
        self.config = deployment.folder / "loud.yaml"
        self.config.write_text(_SOURCE)
        self.edits = 0
        self.write()
        first = deployment.cli("run", str(self.config), str(self.inputs))
        self.known = {str(first["execution_id"])}

    def write(self) -> None:
        for name, parts in self.texts.items():
            (self.inputs / name).write_text("\n\n".join(parts))

    def edit(self) -> None:
        """Insert a paragraph at the top of each document."""
        self.edits += 1
        for name, parts in self.texts.items():
            parts.insert(0, f"new {self.edits} in {name}")
        self.write()

    def killed(self, point: str, n: int) -> str:
        """Let a run die; return the execution once other processes have ended it."""
        command = ("run", "loud", str(self.inputs), "--reuse")
        self.stand.strike("cli", f"{point}:{n}", Job(command))
        self.stand.start()
        try:
            found = self.new()
            ended = [self.deployment.ended(one) for one in found]
            if not found or ended[0]["status"] == "failed":  # nothing was sealed
                assert point in ("submit.stored", "reuse.indexed")
                return str(self.deployment.cli(*command)["execution_id"])
            assert len(found) == 1
            return found[0]
        finally:
            self.known |= set(self.new())
            self.stand.end()

    def new(self) -> list[str]:
        found = {str(one["execution_id"]) for one in self.deployment.items("/executions")}
        return sorted(found - self.known)

    def check(self, execution: str) -> None:
        """Check the outputs against the documents, and what was processed."""
        expected: dict[str, str] = {}
        for name, parts in self.texts.items():
            for number, text in enumerate(parts, 1):
                path = f"{name.removesuffix('.txt')}/{number:04}.txt"
                expected |= {
                    f"parts/{path}": text,
                    f"loud/{path}": text.upper(),
                    f"louder/{path}": text.upper(),
                }
        outputs: list[Any] = self.deployment.rows(
            "SELECT key, location FROM outputs "
            "WHERE state = 1 AND key > ? AND key < ? AND message IS NOT NULL",
            *(f"{execution}/", f"{execution}0"),
        )
        below = stored(self.deployment.objects)
        found = {
            row["key"].partition("/")[2]: below[row["location"] or row["key"]].decode() for row in outputs
        }
        assert found == expected
        own = {row["key"].partition("/")[2] for row in outputs if row["location"] is None}
        new = {path for path in expected if not path.startswith("parts/") and path.endswith("/0001.txt")}
        assert own == new | {path for path in expected if path.startswith("parts/")}
        rows: list[Any] = self.deployment.rows(
            "SELECT l.route, m.state FROM messages m JOIN lanes l ON l.id = m.lane "
            "JOIN executions e ON e.n = m.execution WHERE e.id = ?",
            UUID(execution),
        )
        old = _DOCUMENTS * (_PARAGRAPHS + self.edits - 1)
        assert Counter((row["route"], ROW_STATES[row["state"]]) for row in rows) == {
            ("split", "completed"): _DOCUMENTS,
            ("shout", "completed"): _DOCUMENTS,
            ("shout", "taken_over"): old,
            ("again", "completed"): _DOCUMENTS,
            ("again", "taken_over"): old,
        }


@pytest.fixture(scope="module")
def edited() -> Iterator[Edited]:
    with open_deployment(adapters=STEPS) as deployment:
        yield Edited(deployment)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "n"), CASES)
def test_a_killed_run_uses_the_same_results_again(edited: Edited, point: str, n: int) -> None:
    edited.edit()
    edited.check(edited.killed(point, n))
