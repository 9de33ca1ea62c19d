"""After a `kill -9` at any point of a prune, its objects are gone in the end, and nothing else is.

In between, nothing can be replayed from the pruned execution, whichever process was killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from playhead import faults
from tests.acceptance.kills import PIPELINES
from tests.acceptance.processes import DEADLINE_SECONDS, Deployment, Process, client, open_deployment

BULK: Final = PIPELINES["bulk"]
"""520 inputs and as many outputs: more than one page of a prune."""
SHORT: Final = BULK.source.replace("entry:", "retention: {keep_days: 0.000001}\nentry:")

WHO: Final = ("cli", "serve", "worker")
CASES: Final = [
    ("prune.begun", 1, "cli"),
    ("prune.marked", 1, "worker"),
    ("prune.deleted", 2, "serve"),
    ("prune.emptied", 1, "cli"),
    *[
        pytest.param(point, n, who, marks=pytest.mark.full)
        for point, n, who in (
            *(("prune.begun", 1, who) for who in ("serve", "worker")),
            *(("prune.marked", n, who) for n in (1, 2) for who in ("cli", "serve")),
            ("prune.marked", 2, "worker"),
            *(("prune.deleted", 1, who) for who in WHO),
            *(("prune.deleted", 2, who) for who in ("cli", "worker")),
            *(("prune.emptied", 1, who) for who in ("serve", "worker")),
        )
    ],
]

OF_RECORDS: Final = [
    ("prune.records", 1, "cli"),
    ("prune.records", 4, "worker"),
    *[
        pytest.param("prune.records", n, who, marks=pytest.mark.full)
        for n in (1, 3, 4)
        for who in WHO
        if (n, who) not in ((1, "cli"), (4, "worker"))
    ],
]
"""Three pages of inputs and outputs, and two of messages."""


def test_every_point_of_a_prune_has_a_case() -> None:
    values = [getattr(case, "values", case) for case in CASES + OF_RECORDS]
    points = {point for point in faults.POINTS if point.startswith("prune.")}
    assert {point for point, _, _ in values} == points
    assert {(point, who) for point, _, who in values} == {(p, w) for p in points for w in WHO}


class Stand:
    """A deployment with a server, a worker, and an execution that no prune selects."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.start()
        deployment.apply(BULK.source)
        self.other = deployment.run("bulk", {"page.txt": b"text"})
        deployment.ended(self.other)
        deployment.post(f"/executions/{self.other}/pin")
        self.kept = deployment.stored(self.other)

    def start(self) -> None:
        self.server: Process = self.deployment.serve()
        self.worker = self.deployment.worker()

    def finished_run(self) -> str:
        execution = self.deployment.run("bulk", BULK.inputs)
        self.deployment.ended(execution)
        return execution

    def strike(self, point: str, n: int, who: str, execution: str, *, records: bool = False) -> None:
        """Prune an execution, or its records, and let the process die that does it."""
        fault = f"{point}:{n}"
        if who == "cli":
            more = ["--records"] * records
            command = self.deployment.start("prune", execution, "--yes", *more, fault=fault)
            self.deployment.struck(command)
        elif who == "serve":
            self.server.stop()
            armed = self.deployment.serve(fault=fault)
            with suppress(httpx.TransportError):
                self.deployment.post("/prune", json={"execution_ids": [execution], "records": records})
            self.deployment.struck(armed)
            self.server = self.deployment.serve()
        else:
            self.deployment.close()  # so that only one process can prune
            file = self.deployment.folder / "short.yaml"
            file.write_text(
                SHORT.replace("}\nentry", ", records: 0.000001 days}\nentry") if records else SHORT
            )
            self.deployment.cli("config", "apply", str(file))
            armed = self.deployment.worker(fault=fault)
            self.deployment.struck(armed)
            self.start()
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
def stand() -> Iterator[Stand]:
    with open_deployment() as deployment:
        yield Stand(deployment)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "n", "who"), CASES)
def test_a_prune_that_was_killed_is_continued(stand: Stand, point: str, n: int, who: str) -> None:
    deployment = stand.deployment
    execution = stand.finished_run()
    before = deployment.get(f"/executions/{execution}")
    messages = list(deployment.items(f"/executions/{execution}/lineage"))

    stand.strike(point, n, who, execution)

    assert stand.refused(execution) == (409, "stage_pruned")
    deployment.until(lambda: stand.open_prunings() == 0, "the prune to be continued")
    assert not (deployment.objects / execution).exists()
    assert deployment.stored(stand.other) == stand.kept
    assert stand.refused(execution) == (409, "stage_pruned")
    after = deployment.get(f"/executions/{execution}")
    [gone] = after["pruned"]
    changed = ("pruned", "replayable_until")
    assert {k: after[k] for k in after if k not in changed} == {
        k: before[k] for k in before if k not in changed
    }
    for then, now in zip(messages, deployment.items(f"/executions/{execution}/lineage"), strict=True):
        assert now["outputs_pruned_at"] == now["input_pruned_at"] == gone["pruned_at"]
        assert now == then | {name: now[name] for name in ("outputs_pruned_at", "input_pruned_at")}
    deployment.forget()


@pytest.mark.slow
@pytest.mark.parametrize(("point", "n", "who"), OF_RECORDS)
def test_a_deletion_of_records_that_was_killed_is_continued(
    stand: Stand, point: str, n: int, who: str
) -> None:
    deployment = stand.deployment
    execution = stand.finished_run()
    before = deployment.get(f"/executions/{execution}")
    deployment.cli("prune", execution, "--yes")
    deployment.until(lambda: stand.open_prunings() == 0, "the prune to end")
    others = stand.records(stand.other)
    assert stand.records(execution) == [520, 1040, 0]

    stand.strike(point, n, who, execution, records=True)

    after = deployment.get(f"/executions/{execution}")
    assert after["records_deleted_at"] is not None
    deployment.until(lambda: stand.records(execution) == [0, 0, 0], "the deletion to be continued")
    assert stand.records(stand.other) == others
    changed = ("pruned", "replayable_until", "records_deleted_at")
    assert {k: after[k] for k in after if k not in changed} == {
        k: before[k] for k in before if k not in changed
    }
    with client(f"{deployment.url}/api/v1") as http:
        refused = http.get(f"/executions/{execution}/lineage")
    assert (refused.status_code, refused.json()["error_code"]) == (410, "records_deleted")
    deployment.forget()


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--yes",), ()])
def test_the_same_prune_again_ends_one_that_was_killed(more: tuple[str, ...]) -> None:
    with open_deployment() as deployment:
        deployment.serve()
        deployment.worker()
        deployment.apply(BULK.source)
        execution = deployment.run("bulk", BULK.inputs)
        deployment.ended(execution)
        deployment.close()
        deployment.struck(deployment.start("prune", execution, "--yes", fault="prune.marked:2"))
        assert 0 < len(deployment.stored(execution)) < 4 * len(BULK.inputs)

        again = deployment.start("prune", execution, *more)

        assert again.popen.wait(DEADLINE_SECONDS) == 0
        assert again.said == "1 interrupted prune continued and ended\n"
        assert deployment.stored(execution) == {}


@pytest.mark.slow
def test_the_next_prune_ends_one_that_was_killed() -> None:
    with open_deployment() as deployment:
        deployment.serve()
        deployment.worker()
        deployment.apply(BULK.source)
        first, second = (deployment.run("bulk", BULK.inputs) for _ in range(2))
        for execution in (first, second):
            deployment.ended(execution)
        deployment.close()
        deployment.struck(deployment.start("prune", first, "--yes", fault="prune.deleted:1"))
        left = len(deployment.stored(first))
        assert 0 < left < 4 * len(BULK.inputs)

        answer = deployment.cli("prune", second, "--yes")

        assert (answer["executions"], answer["objects"]) == (1, 2 * len(BULK.inputs))
        assert deployment.stored(first) == deployment.stored(second) == {}
