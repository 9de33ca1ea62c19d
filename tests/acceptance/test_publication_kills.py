"""After a `kill -9` at any point of a publication, readers see the earlier or the new one, never a mixture.

No command is needed afterwards: another process continues the draft.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from playhead import faults
from playhead.adapters.sqlite_search import search
from tests.acceptance.kills import PIPELINES
from tests.acceptance.processes import Deployment, open_deployment

pytestmark = pytest.mark.slow

BULK: Final = PIPELINES["bulk"]
CONFIG: Final = (
    BULK.source.replace("{stage: loud}", "{stage: loud, to: [index]}")
    + """\
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
datasets: {docs: {keep: 1}}
"""
)
DROPS: Final = ["drop.marked", "drop.page", "sink.forgot"]
CASES: Final = [
    *("publication.begun", "publication.undone", "publication.rewound"),
    *("publication.written:1", "publication.written:2", "publication.written:3"),
    *("publication.resolved", "publication.finished", "publication.staged", "publication.decided"),
    *("sink.staged", "sink.switched"),
    *DROPS,
]


def test_every_point_of_a_publication_has_a_case() -> None:
    points = {point for point in faults.POINTS if point.startswith(("publication.", "drop.", "sink."))}
    assert {case.partition(":")[0] for case in CASES} == points


class Stand:
    """A deployment with a run, and a replay of all of its inputs, which are published in turn."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.start()
        deployment.apply(CONFIG)
        self.run = deployment.run("bulk", BULK.inputs)
        deployment.ended(self.run)
        request = {"from_execution_id": self.run, "from_stage": "input", "to_route": "shout"}
        self.replay = deployment.post("/replay", json=request)["execution_id"]
        deployment.ended(self.replay)
        self.publish(self.run)

    def start(self) -> None:
        self.deployment.serve()
        self.deployment.worker()

    def dataset(self) -> Any:
        return self.deployment.get("/datasets/docs")

    def publish(self, execution: str) -> None:
        self.deployment.cli("publish", "docs", execution, "--allow-older")

    def seen(self, n: int | None = None) -> set[str]:
        """Return the executions whose results readers see, all of them from one publication."""
        name = f"current:docs@{n}" if n else "current:docs"
        publication = self.deployment.get(f"/executions/{name}")["execution_id"]
        found = list(self.deployment.items("/storage/objects", execution_id=publication, stage="loud"))
        assert len(found) == len(BULK.inputs)
        return {one["key"].partition("/")[0] for one in found}

    def indexed(self) -> set[str]:
        """Return the executions whose rows a search of the index finds, all of them by one statement."""
        found = search(self.deployment.home / "data" / "search.db", "text", limit=len(BULK.inputs) + 1)
        assert len(found) == len(BULK.inputs)
        return {str(one.execution_id) for one in found}

    @contextmanager
    def readers(self) -> Iterator[list[set[str]]]:
        """Read all the time, and note what was seen."""
        noted: list[set[str]] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                noted.extend((self.seen(), self.indexed()))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield noted
        finally:
            stop.set()
            reader.join()

    def begin(self, point: str, execution: str) -> None:
        """Publish until the process dies at a point."""
        if point == "publication.undone":  # an abandoned draft has left entries
            self.kill("publication.written:2", execution)
            self.deployment.cli("publications", "cancel", "docs")
        elif point == "publication.rewound":
            other = self.run if execution == self.replay else self.replay
            before = self.dataset()["current"]
            self.publish(execution)
            self.deployment.cli("rollback", "docs", "--to", str(before))
            assert self.seen() == {other}
        self.kill(point, execution)

    def kill(self, point: str, execution: str) -> None:
        command = self.deployment.start("publish", "docs", execution, "--allow-older", fault=point)
        self.deployment.struck(command)

    def published(self) -> bool:
        """Whether no draft is open, and the index shows what is current."""
        found = self.dataset()
        return found["draft"] is None and found["sinks"][0]["seq"] == found["seq"]


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    # So that the command that is to be killed keeps its draft on a slow machine.
    with open_deployment(LEASE_SECONDS="5") as deployment:
        yield Stand(deployment)


@pytest.mark.parametrize("point", [case for case in CASES if case not in DROPS])
def test_a_publication_ends_without_help(stand: Stand, point: str) -> None:
    before = stand.seen()
    wanted = stand.run if before == {stand.replay} else stand.replay

    with stand.readers() as noted:
        stand.begin(point, wanted)
        stand.deployment.until(lambda: stand.published() or None, "the end of the publication")

    assert stand.seen() == stand.indexed() == {wanted}
    assert all(len(seen) == 1 for seen in noted), "a reader has seen a mixture"
    _check_entries(stand)


@pytest.mark.parametrize("point", DROPS)
def test_a_drop_ends_without_help(stand: Stand, point: str) -> None:
    deployment = stand.deployment
    for execution in (stand.run, stand.replay, stand.run):
        stand.publish(execution)
    deployment.close()
    deployment.struck(deployment.serve(fault=point))
    deployment.forget()
    stand.start()

    deployment.until(lambda: not _unswept(stand) or None, "the end of the drop")

    assert stand.seen() == stand.indexed() == {stand.run}
    kept = [one["n"] for one in deployment.items("/datasets/docs/publications")]
    assert len(kept) == 2
    assert stand.seen(min(kept)) == {stand.replay}
    _check_entries(stand)


def _unswept(stand: Stand) -> list[Any]:
    """Return publications that should be dropped, or whose entries should be deleted."""
    dropped = stand.deployment.rows("SELECT n FROM publications WHERE state = 'dropped' AND NOT swept")
    kept = stand.deployment.rows("SELECT n FROM publications WHERE state = 'published'")
    forgetting = stand.deployment.rows("SELECT route FROM sinks WHERE must_forget")
    return dropped or kept[2:] or forgetting


def _check_entries(stand: Stand) -> None:
    """Check that nothing is left of abandoned drafts after the next publication."""
    [row] = stand.deployment.rows(
        "SELECT count(*) AS open FROM published WHERE last IS NULL AND stage = 'loud'"
    )
    assert row["open"] == len(BULK.inputs)
