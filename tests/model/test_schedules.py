"""Random schedules over runs: crashes, takeovers, redeliveries, losses, lapses, cancels (`world.py`).

`PLAYHEAD_TEST_SCHEDULES=20000` runs more schedules. A failure names its seed.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest

from playhead.backends._sql_catalog.rows import JobRow, Rows
from playhead.backends.sql import RUNNING
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.ids import uuid7
from playhead.keys import is_sidecar
from playhead.model import Config, ErrorHandling, Lineage, Route
from playhead.ports.catalog.jobs import LeasedJob
from playhead.ports.catalog.runs import Input, Reusable
from playhead.ports.catalog.work import Binding, Bound, Done, Finished, Result, Unbound
from playhead.ports.store import Blob
from playhead.work.attempt import AttemptOutcome, ClaimedMessage
from tests.lab import asked
from tests.model.faulty import Catalog, at_once, connection, step
from tests.model.world import World, is_found, part, run_schedules, schedules

OBJECTS = ("k0", "k1", "k2")

CONFIG = Config(
    "model",
    "split",
    {
        "split": Route(
            "split", "q.split", stage="parts", to=("left", "right"), errors=ErrorHandling(6, 1, 1, 1)
        ),
        "left": Route("left", "q.left", errors=ErrorHandling(6, 1, 1, 1)),
        "right": Route("right", "q.right", stage="ends", errors=ErrorHandling(6, 1, 1, 1)),
    },
)


class Pipeline(World):
    """A run through two stages. If the schedule is fickle, `split` returns other outputs at each attempt."""

    config = CONFIG

    def budget(self) -> Counter[str]:
        self.fickle = self.rng.random() < 0.7
        return Counter(
            crash=6,
            lose=1,
            lapse=3,
            late=4,
            unanswered=4,
            fail=self.rng.choice([0, 3, 9]),
            resend=2,
            server=3,  # the fifth acquisition without progress stalls a job, as designed
            cancel=self.rng.choice([0, 0, 0, 1]),
        )

    def prepare(self) -> None:
        self.job = self.sealed({path: path.encode() for path in OBJECTS})

    def sealed(self, files: Mapping[str, bytes], since: Reusable | None = None) -> UUID:
        """Seal a run of files (path to bytes)."""
        run = uuid7()
        at_once(self.catalog.open_run(run, "model", 1, tags=[], owner="p", lease=1, reuse=since))
        inputs = [Input(p, len(d), hashlib.sha256(d).digest(), "text/plain") for p, d in files.items()]
        referred = at_once(self.catalog.bind_inputs(run, inputs, takes_over=since is not None))
        blobs = [Blob(f"{run}/input/{path}", data) for path, data in files.items()]
        at_once(self.still.write([[blob] for blob in blobs if blob.key not in referred]))
        at_once(self.catalog.seal(run))
        self.objects = set(files)
        return run

    async def server(self, name: str) -> None:
        await self.replays(name).drives.drive(self.job)

    def output(self, one: ClaimedMessage, data: bytes, n: int) -> AttemptOutcome:
        claim, n = one.claim, n if self.fickle else 1
        if claim.route == "split":
            names = {1: "ab", 2: "ac", 3: "a", 4: ""}.get(n, "abc")
            return AttemptOutcome(
                one, "parts", [part(f"{claim.path}/{x}", f"{claim.path}{x}#{n}".encode()) for x in names]
            )
        if claim.route == "right":
            return AttemptOutcome(one, "ends", [part(claim.path, data + b"!%d" % n)])
        return AttemptOutcome(one)

    # -- the schedule ------------------------------------------------------------------------------

    def fault(self) -> bool:
        if super().fault():
            return True
        x = self.rng.random()
        if x < 0.005 and self.faults["cancel"] > 0:
            self.cancel()
            return True
        if x < 0.015 and self.faults["resend"] > 0:
            dead = self.lineage(status="dead")
            if dead and not self.cancelled:
                self.faults["resend"] -= 1
                at_once(self.catalog.resend(ids=[self.rng.choice(dead).correlation_id]))
            return True
        return False

    def crash(self, name: str) -> bool:
        if name.startswith("server") and not self.left("server"):
            return False
        return super().crash(name)

    def tend(self) -> None:
        if self.rng.random() < 0.03 and not self.processes("server"):
            self.start("server")
        elif self.rng.random() < 0.005 and self.left("server"):
            self.start("server")  # next to a live one: the second must change nothing

    def cancel(self) -> None:
        self.faults["cancel"] -= 1
        if at_once(self.catalog.execution(self.job)).status == "running":
            at_once(self.catalog.cancel(self.job))
            self.cancelled = True

    # -- what must hold ----------------------------------------------------------------------------

    def stored(self) -> dict[str, bytes]:
        return {k: d for k, (d, _) in self.still._objects.items() if not is_sidecar(k)}

    def audit(self) -> list[str]:
        bad = super().audit()
        execution = at_once(self.catalog.execution(self.job))
        rows = self.lineage()
        is_failed = any(r.status == "dead" for r in rows)
        want = "cancelled" if self.cancelled else "failed" if is_failed else "completed"
        if execution.status not in (want, "running"):
            bad.append(f"it is {execution.status}, not {want}")
        children = defaultdict(list)
        for r in rows:
            children[r.parent_correlation_id].append(r)
        stored = self.stored()
        for r in rows:
            if r.status not in ("completed", "taken_over") and r.output_keys:
                bad.append("a message that did not complete has stored outputs")
            if (
                r.status == "completed"
                and r.route == "left"
                and self.read[r.correlation_id] != stored[r.input_key]
            ):
                bad.append("a child read other bytes than the store holds")
            if r.route == "split":
                kids = Counter((c.input_key, c.route) for c in children[r.correlation_id])
                if kids != Counter((k, route) for k in r.output_keys for route in ("left", "right")):
                    bad.append("children differ from stored outputs times routes")
                attempts = {stored[k].rpartition(b"#")[2] for k in r.output_keys if k in stored}
                if len(attempts) > 1:
                    bad.append("a stage holds outputs of two attempts of one message")
            if any(k not in stored for k in r.output_keys):
                bad.append("a stored output is not in the store")
        listed = [k for k in sorted(stored) if k.startswith(f"{self.job}/parts/")]
        visible = set(listed) - at_once(self.catalog.unstored(listed))
        if visible != {k for r in rows for k in r.output_keys if "/parts/" in k}:
            bad.append("what a replay would list differs from what the rows hold")
        return bad


class Incremental(Pipeline):
    """A run, and then one that takes over its results; each with faults."""

    def run(self) -> list[str]:
        faults = self.faults.copy()
        self.bad = super().run()
        earlier = {_place(r): r for r in self.lineage()}
        source = self.job
        self.faults, self.cancelled = faults, False
        changed = self.rng.choice([None, "split", "left", "right"])
        since = Reusable(source, {route: None for route in CONFIG.routes if route != changed})
        text = self.rng.choice([b"k1", b"changed"])
        self.job = self.sealed({"k0": b"k0", "k1": text, "new": b"new"}, since)
        self.bad = super().run()
        rows = self.lineage()
        by_id = {r.correlation_id: r for r in rows}
        for r in rows:
            parent, twin = by_id.get(r.parent_correlation_id or r.correlation_id), earlier.get(_place(r))
            is_below = r.parent_correlation_id is None or (parent and parent.status == "taken_over")
            is_same = text == b"k1" or not _place(r)[1].startswith("input/k1")
            is_valid = bool(is_below and is_same and twin and twin.status in ("completed", "skipped"))
            if (r.status == "taken_over") != (is_valid and r.route != changed):
                self.bad.append("what is valid is processed, or what is not valid is taken over")
            if r.status == "taken_over" and (self.tries[r.correlation_id] or not twin):
                self.bad.append("what is taken over is processed")
            elif r.status == "taken_over" and twin and r.taken_over_from != twin.correlation_id:
                self.bad.append("something else is taken over")
        return self.bad

    def stored(self) -> dict[str, bytes]:
        held = super().stored()
        references = at_once(self.catalog.references(str(self.job), limit=1000))
        return held | {one.key: held[one.location] for one in references}


class Skipping(Pipeline):
    """A replay that does not repeat the effects of a route, with faults."""

    skipped = ("left",)

    def prepare(self) -> None:
        super().prepare()
        source = self.job
        at_once(self.catalog.cancel(source))
        opened = at_once(
            self.catalog.open_replay(
                batch=uuid7(),
                request=asked(source, "input", "split"),
                prefix=f"{source}/input",
                config="model",
                version=1,
                route="split",
                effects=dict.fromkeys(self.skipped, "skip"),
            )
        )
        self.job = opened.replay.execution_id

    def audit(self) -> list[str]:
        bad = super().audit()
        for row in self.lineage():
            if row.route in self.skipped and (row.attempts or self.tries[row.correlation_id]):
                bad.append("an effect was repeated")
            if row.route in self.skipped and row.status not in ("skipped", "cancelled"):
                bad.append(f"a message of a skipped route is {row.status}")
        return bad


def _place(row: Lineage) -> tuple[str, str]:
    """The route and the input of a message, in any execution."""
    return row.route, row.input_key.partition("/")[2]


def test_no_schedule_of_faults_breaks_a_guarantee():
    found, seeds = run_schedules(schedules(), kind=Pipeline)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


def test_no_schedule_of_faults_breaks_a_run_that_takes_over_results():
    found, seeds = run_schedules(schedules(5), kind=Incremental)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


def test_no_schedule_of_faults_repeats_an_effect_that_a_replay_skips():
    found, seeds = run_schedules(schedules(5), kind=Skipping)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


# -- the test can fail: without a rule, schedules find violations -------------------------------------


class Tokenless(Catalog):
    """Without rule 2: any attempt may finish."""

    async def finish(self, publisher: str, results: Sequence[Result]) -> list[Finished | None]:
        await step()
        for result in results:
            if isinstance(result, Done):
                token = RUNNING, result.attempt, result.correlation_id.bytes
                self.con.execute("UPDATE messages SET state = ?, attempt = ? WHERE id = ?", token)
        answers: list[Finished | None] = at_once(super().finish(publisher, results))
        return answers


class Bindless(Catalog):
    """Without rule 4: an attempt overwrites the keys of the one before."""

    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        answers = await super().bind(bindings)
        blind: list[list[Bound] | Unbound | None] = []
        for binding, answer in zip(bindings, answers, strict=True):
            if isinstance(answer, list):
                blind.append(
                    [
                        b._replace(key=b.key[: len(b.key) - len(b.path)] + o.path, path=o.path)
                        for b, o in zip(answer, binding.outputs, strict=True)
                    ]
                )
            else:
                blind.append(answer)
        return blind


class FencelessRows(Rows):
    async def leased(self, db: Session, held: LeasedJob, look: Statement = SQL.lock_leased) -> JobRow | None:
        connection(db).execute(
            "UPDATE jobs SET epoch = ?, cursor = '' "
            "WHERE execution = (SELECT n FROM executions WHERE id = ?)",
            (held.epoch, held.job.bytes),
        )
        return await super().leased(db, held, look)


class Fenceless(Catalog):
    """Without rule 7: a page is recorded whatever its epoch and cursor are."""

    rows_type = FencelessRows


class Contentless(Catalog):
    """Without a comparison of contents: an input with the same path is taken for unchanged."""

    async def bind_inputs(
        self, execution: UUID, inputs: Sequence[Input], *, takes_over: bool = False
    ) -> set[str]:
        found = self.con.execute("SELECT key, size, sha256 FROM outputs WHERE key LIKE '%/input/%'")
        known = {key.rpartition("/")[2]: (size, sha256) for key, size, sha256 in found}
        same = [Input(i.path, *known.get(i.path, (i.size, i.sha256)), i.content_type) for i in inputs]
        return await super().bind_inputs(execution, same, takes_over=takes_over)


class Late(Catalog):
    """Skipped messages are inserted like others: only their claim closes them."""

    async def _insert_skipped(self, db: Session, family: Sequence[Any], origins: Any) -> list[Any]:
        return list(family)


def test_if_only_the_claim_skips_a_route_schedules_find_violations():
    violations = [line for seed in range(10) for line in Skipping(seed, catalog=Late).run()]
    assert "a message of a skipped route was published" in violations
    assert "an effect was repeated" not in violations


def test_without_a_comparison_of_contents_schedules_find_violations():
    assert is_found("not valid is taken over", Incremental, 20, catalog=Contentless)


@pytest.mark.parametrize(
    ("world", "schedules", "first", "what"),
    [
        ({"reconciler": False}, 20, 0, "it hangs"),
        ({"catalog": Tokenless}, 100, 5, "children differ"),
        ({"catalog": Bindless}, 100, 33, "bytes of a bound key"),
        ({"catalog": Fenceless}, 100, 0, "roots"),
    ],
    ids=["no reconciler", "no token", "no binding", "no fence"],
)
def test_without_a_rule_schedules_find_violations(
    world: dict[str, Any], schedules: int, first: int, what: str
):
    assert is_found(what, Pipeline, schedules, first=first, **world)
