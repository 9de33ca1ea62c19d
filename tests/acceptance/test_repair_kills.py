"""After a `kill -9` at any step of `index check --repair`, each lost row is back exactly once.

Another process finishes the repair, whether or not a second command asks for it. Until the repaired index is
shown, readers see what they saw before it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from typing import Any, Final, Literal

import pytest

from playhead.adapters.sqlite_search import search
from tests.acceptance.stand import Job, Stand, Who, open_stand, reading

pytestmark = pytest.mark.slow

CONFIG: Final = """
version: "1.0"
name: docs
entry: shout
routes:
  shout:
    adapters: [{type: shout}]
    outbound: {stage: loud, to: [index]}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
datasets: {docs: {}}
"""
INPUTS: Final = {f"{n:02}.md": f"text {n}".encode() for n in range(12)}
LOST: Final = ("03.md", "07.md")
_OF_LOST: Final = f"(SELECT written FROM entry WHERE path IN {LOST})"
Damage = Literal["rows", "intervals"]
DAMAGES: Final[dict[Damage, tuple[str, ...]]] = {
    "rows": (
        f"DELETE FROM entry_text WHERE rowid IN {_OF_LOST}",
        f"DELETE FROM entry WHERE written IN {_OF_LOST}",
    ),
    "intervals": (f"DELETE FROM live WHERE result IN (SELECT result FROM entry WHERE path IN {LOST})",),
}
"""`intervals`: the rows are there, and no publication shows them, so nothing is to be written again."""

BY_COMMAND: Final = ("repair.asked", "repair.rebuilt", "sink.staged", "replay.created", "repair.recorded")
BY_WORKER: Final = (
    *("publication.begun", "publication.written", "publication.finished", "sink.staged"),
    *("publication.staged", "publication.decided", "sink.switched", "repair.ended"),
)
OF_INTERVALS: Final = ("repair.rebuilt", "sink.staged", "sink.switched")
CASES: Final[list[tuple[Damage, Who, str]]] = [
    *(("rows", "cli", point) for point in BY_COMMAND),
    *(("rows", "heir", point) for point in BY_WORKER),
    *(("intervals", "cli", point) for point in OF_INTERVALS),
]
REPAIR: Final = Job(("index", "check", "docs", "--repair"), begun="repair.recorded")
FINISHERS: Final = ("worker", "command")
REPEATED: Final = 3
_WITHOUT_REPAIR: Final = ("publication.written", "publication.finished", "publication.staged")
"""Points that `test_publication_kills.py` reaches too, so only `--full` runs them here."""


def cases() -> Iterator[Any]:
    """Yield each case with one process that finishes it; with `--full`, with each, several times."""
    for place, (damage, who, point) in enumerate(CASES):
        is_fast = point not in _WITHOUT_REPAIR and (damage, point) != ("intervals", "sink.staged")
        for n in range(REPEATED):
            for finisher in FINISHERS:
                is_first = not n and finisher == FINISHERS[place % 2]
                name = f"{damage}-{who}-{point}-{finisher}-{n}"
                marks = () if is_fast and is_first else pytest.mark.full
                yield pytest.param(damage, who, point, finisher, id=name, marks=marks)


Seen = dict[str, str]
"""What a reader finds: the execution of each path."""


class Repaired:
    """A stand with a publication that its index shows."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.deployment = stand.deployment
        self.deployment.cli("publish", "docs", stand.finished("docs", INPUTS))
        self.deployment.until(lambda: len(self.found()) == len(INPUTS) or None, "the index to show the run")

    def found(self) -> Seen:
        """Return what a search finds. Each path is found once."""
        found = search(self.deployment.data / "search.db", "text", limit=len(INPUTS) + 1)
        seen = {one.path: str(one.execution_id) for one in found}
        assert len(seen) == len(found), "a path was found twice"
        return seen

    def damage(self, how: Damage) -> None:
        with closing(sqlite3.connect(self.deployment.data / "search.db")) as db, db:
            for statement in DAMAGES[how]:
                assert db.execute(statement).rowcount == len(LOST)

    def replays(self) -> list[Any]:
        """Return the replays, each with the number of its messages."""
        return self.deployment.rows(
            "SELECT hex(e.id) AS id, (SELECT count(*) FROM messages m WHERE m.execution = e.n) AS messages "
            "FROM executions e WHERE e.kind = 'replay' ORDER BY e.n"
        )

    def is_over(self) -> bool:
        """Whether the index shows what is current, and is compared with it."""
        [row] = self.deployment.rows(
            "SELECT d.draft IS NULL AND s.shown_seq = d.seq AND NOT s.is_repairing AND s.check_mode = 0 "
            "AND NOT s.is_rebuilt AND s.missing = 0 AS over FROM sinks s JOIN datasets d ON d.n = s.dataset"
        )
        return bool(row["over"])


@pytest.fixture(scope="module")
def index() -> Iterator[Repaired]:
    with open_stand(CONFIG) as stand:
        yield Repaired(stand)


@pytest.mark.parametrize(("damage", "who", "point", "finisher"), list(cases()))
def test_a_repair_ends_without_a_part_and_each_lost_row_is_back_once(
    index: Repaired, damage: Damage, who: Who, point: str, finisher: str
) -> None:
    deployment = index.deployment
    index.stand.end()
    whole, before = index.found(), index.replays()
    index.damage(damage)
    damaged = index.found()
    assert damaged.keys() == INPUTS.keys() - set(LOST)

    seen = [damaged]

    def note() -> None:
        found = index.found()
        if found != seen[-1]:
            seen.append(found)

    with reading(nullcontext(note)):
        index.stand.strike(who, point, REPAIR)
        deployment.worker()
        if finisher == "command":
            deployment.start(*REPAIR.command).popen.wait(120)
        deployment.until(lambda: index.is_over() or None, "the end of the repair")
        index.stand.end()
        repaired = index.found()

    assert seen in ([damaged, repaired], [damaged]), "a reader saw a part"
    assert repaired.keys() == INPUTS.keys(), "each lost row is back"
    kept = {path: of for path, of in repaired.items() if path not in LOST}
    assert kept == damaged
    new = index.replays()[len(before) :]
    if damage == "intervals":
        assert (new, repaired) == ([], whole)
    else:
        [replay] = new
        assert replay["messages"] == len(LOST), "of the lost rows and nothing else"
        written = {of.replace("-", "").upper() for path, of in repaired.items() if path in LOST}
        assert written == {replay["id"]}
    [check] = deployment.rows("SELECT checked FROM sinks")
    assert '"missing": 0, "left_over": 0' in check["checked"]
