"""After a `kill -9` at any point of a prune, its objects are gone in the end, and nothing else is.

In between, nothing can be replayed from the pruned execution, whichever process was killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args
from uuid import UUID

import pytest
from _pytest.mark import ParameterSet

from tests.acceptance.pipelines import BULK
from tests.acceptance.processes import DEADLINE_SECONDS, Deployment, client
from tests.acceptance.stand import Job, Stand, open_stand

SHORT: Final = BULK.source.replace("entry:", "retention: {keep_days: 0.000001}\nentry:")

Who = Literal["cli", "serve", "worker"]
WHO: Final = get_args(Who)
FAST: Final = {
    ("prune.begun", 1, "cli"),
    ("prune.marked", 1, "worker"),
    ("prune.deleted", 2, "serve"),
    ("prune.emptied", 1, "cli"),
    ("prune.records", 1, "cli"),
    ("prune.records", 4, "worker"),
}


def cases(*passes: tuple[str, int]) -> list[ParameterSet]:
    """Each pass of a point in each process."""
    found = [(point, n, who) for point, n in passes for who in WHO]
    return [pytest.param(*one, marks=() if one in FAST else pytest.mark.full) for one in found]


CASES: Final = cases(
    *(("prune.begun", 1), ("prune.marked", 1), ("prune.marked", 2)),
    *(("prune.deleted", 1), ("prune.deleted", 2), ("prune.emptied", 1)),
)
OF_RECORDS: Final = cases(("prune.records", 1), ("prune.records", 3), ("prune.records", 4))
"""Three pages of inputs and outputs, and two of messages."""


@dataclass
class Pruned:
    """A stand with an execution that no prune selects, and the objects of that execution."""

    stand: Stand
    deployment: Deployment
    other: str
    kept: dict[str, bytes]

    def strike(self, point: str, n: int, who: Who, execution: str, *, records: bool = False) -> None:
        """Prune an execution, or its records, and let the process die that does it. Others continue."""
        if who == "worker":
            days = "}\nentry", ", records: 0.000001 days}\nentry"
            config = self.deployment.folder / "short.yaml"
            config.write_text(SHORT.replace(*days) if records else SHORT)
            job = Job(("config", "apply", str(config)))
        else:
            command = ("prune", execution, "--yes", *["--records"] * records)
            job = Job(command, "/prune", {"execution_ids": [execution], "records": records})
        self.stand.strike(who, f"{point}:{n}", job)
        self.stand.start()
        self.deployment.apply(BULK.source)  # so that it is continued without the retention

    def refused(self, execution: str) -> Any:
        body = {"from_execution_id": execution, "from_stage": "loud", "to_route": "shout", "from_path": None}
        with client(f"{self.deployment.url}/api/v1") as http:
            answer = http.post("/replay", json=body)
        return answer.status_code, answer.json()["error_code"]

    def open_prunings(self) -> int:
        return len(self.deployment.rows("SELECT 1 FROM prunings WHERE deleted_at IS NULL"))

    def records(self, execution: str) -> list[Any]:
        """Return numbers of rows: messages, outputs, and executions whose records are being deleted."""
        own = "(SELECT n FROM executions WHERE id = ?)"
        [row] = self.deployment.rows(
            f"SELECT (SELECT count(*) FROM messages WHERE execution = {own}), "
            "(SELECT count(*) FROM outputs WHERE key LIKE ?), "
            "(SELECT count(*) FROM executions WHERE records_open)",
            UUID(execution),
            f"{execution}/%",
        )
        return list(row)


@pytest.fixture(scope="module")
def pruned() -> Iterator[Pruned]:
    with open_stand(BULK.source) as stand:
        deployment = stand.deployment
        other = stand.finished("bulk", {"page.txt": b"text"})
        deployment.post(f"/executions/{other}/pin")
        yield Pruned(stand, deployment, other, deployment.stored(other))


@pytest.mark.slow
@pytest.mark.parametrize(("point", "n", "who"), CASES)
def test_a_prune_that_was_killed_is_continued(pruned: Pruned, point: str, n: int, who: Who) -> None:
    deployment = pruned.deployment
    execution = pruned.stand.finished("bulk", BULK.inputs)
    before = deployment.get(f"/executions/{execution}")
    messages = list(deployment.items(f"/executions/{execution}/lineage"))

    pruned.strike(point, n, who, execution)

    assert pruned.refused(execution) == (409, "stage_pruned")
    deployment.until(lambda: pruned.open_prunings() == 0, "the prune to be continued")
    assert not deployment.stored(execution)
    assert deployment.stored(pruned.other) == pruned.kept
    assert pruned.refused(execution) == (409, "stage_pruned")
    deployment.check_audit()
    after = deployment.get(f"/executions/{execution}")
    [gone] = after["pruned"]
    changed = ("pruned", "replayable_until")
    assert {k: after[k] for k in after if k not in changed} == {
        k: before[k] for k in before if k not in changed
    }
    for then, now in zip(messages, deployment.items(f"/executions/{execution}/lineage"), strict=True):
        assert now["outputs_pruned_at"] == now["input_pruned_at"] == gone["pruned_at"]
        assert now == then | {name: now[name] for name in ("outputs_pruned_at", "input_pruned_at")}


@pytest.mark.slow
@pytest.mark.parametrize(("point", "n", "who"), OF_RECORDS)
def test_a_deletion_of_records_that_was_killed_is_continued(
    pruned: Pruned, point: str, n: int, who: Who
) -> None:
    deployment = pruned.deployment
    execution = pruned.stand.finished("bulk", BULK.inputs)
    before = deployment.get(f"/executions/{execution}")
    deployment.cli("prune", execution, "--yes")
    deployment.until(lambda: pruned.open_prunings() == 0, "the prune to end")
    others = pruned.records(pruned.other)
    assert pruned.records(execution) == [520, 1040, 0]

    pruned.strike(point, n, who, execution, records=True)

    after = deployment.get(f"/executions/{execution}")
    assert after["records_deleted_at"] is not None
    deployment.until(lambda: pruned.records(execution) == [0, 0, 0], "the deletion to be continued")
    assert pruned.records(pruned.other) == others
    deployment.check_audit()
    changed = ("pruned", "replayable_until", "records_deleted_at")
    assert {k: after[k] for k in after if k not in changed} == {
        k: before[k] for k in before if k not in changed
    }
    with client(f"{deployment.url}/api/v1") as http:
        refused = http.get(f"/executions/{execution}/lineage")
    assert (refused.status_code, refused.json()["error_code"]) == (410, "records_deleted")


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--yes",), ()])
def test_the_same_prune_again_ends_one_that_was_killed(pruned: Pruned, more: tuple[str, ...]) -> None:
    deployment = pruned.deployment
    execution = pruned.stand.finished("bulk", BULK.inputs)
    pruned.stand.strike("cli", "prune.marked:2", Job(("prune", execution, "--yes")))
    assert 0 < len(deployment.stored(execution)) < 4 * len(BULK.inputs)

    again = deployment.start("prune", execution, *more)

    assert again.popen.wait(DEADLINE_SECONDS) == 0
    assert again.said == "1 interrupted prune continued and ended\n"
    assert deployment.stored(execution) == {}
    pruned.stand.start()


@pytest.mark.slow
def test_the_next_prune_ends_one_that_was_killed(pruned: Pruned) -> None:
    deployment = pruned.deployment
    first, second = (pruned.stand.finished("bulk", BULK.inputs) for _ in range(2))
    pruned.stand.strike("cli", "prune.deleted:1", Job(("prune", first, "--yes")))
    left = len(deployment.stored(first))
    assert 0 < left < 4 * len(BULK.inputs)

    answer = deployment.cli("prune", second, "--yes")

    assert (answer["executions"], answer["objects"]) == (1, 2 * len(BULK.inputs))
    assert deployment.stored(first) == deployment.stored(second) == {}
    pruned.stand.start()
