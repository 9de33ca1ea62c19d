"""The results of an execution, recounted from rows of the catalog, objects of the store, notes of the steps.

`audit` says what is lost, doubled or uncertain without knowing what should have come out; `Picture` is
what must be equal, byte for byte, to that of an undisturbed execution.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from playhead.model import ROW_STATES, Counts
from tests.acceptance.processes import Deployment

SIDECAR: Final = ".meta.json"
STORED: Final = 1  # outputs.state
_VOLATILE: Final = ("correlation_id", "attempt", "created_at", "replay_batch_id")
_MOST_TOLD = 5

_MESSAGES = """
SELECT m.n, m.id, l.route, l.external, l.feeds, m.state, m.published, m.ordinal, m.object_key, m.attempt,
       m.parent, m.error_code, j.watermark
FROM messages m JOIN executions e ON e.n = m.execution JOIN lanes l ON l.id = m.lane
LEFT JOIN jobs j ON j.execution = m.execution
WHERE e.id = ? ORDER BY m.n
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A message as the catalog's file holds it."""

    n: int
    correlation_id: str
    route: str
    external: bool
    feeds: tuple[str, ...]
    state: str
    confirmed: bool
    root: bool
    key: str
    attempt: int
    parent: int | None
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Made:
    """A stored output in the catalog's file. Inputs have `message=None`."""

    key: str
    message: int | None
    attempt: int | None
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line that a step wrote: work that it started or finished."""

    what: str
    route: str
    correlation_id: str
    attempt: int


@dataclass(slots=True)
class Findings:
    """What is wrong, a sentence each. `again` counts attempts beyond the first, which is not wrong."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    uncertain: list[str] = field(default_factory=list)
    again: int = 0

    @property
    def exact(self) -> bool:
        return not (self.lost or self.doubled or self.uncertain)

    def add(self, other: Findings) -> None:
        self.lost += other.lost
        self.doubled += other.doubled
        self.uncertain += other.uncertain
        self.again += other.again

    def __str__(self) -> str:
        told = []
        for name in ("lost", "doubled", "uncertain"):
            lines: list[str] = getattr(self, name)
            told += [f"{name}: {line}" for line in lines[:_MOST_TOLD]]
            if len(lines) > _MOST_TOLD:
                told.append(f"{name}: and {len(lines) - _MOST_TOLD} more")
        return "\n".join(told)


@dataclass(frozen=True)
class Picture:
    """An execution without what differs from one to the next: ids, times, attempt numbers.

    Attributes:
        objects: bytes by path below the execution, sidecars not among them.
        sidecars: fields by the same path.
        rows: the number of rows by route, state, key and parent.
    """

    status: str
    counts: Mapping[str, int]
    objects: Mapping[str, bytes]
    sidecars: Mapping[str, Mapping[str, Any]]
    rows: Counter[tuple[Any, ...]]

    def compare(self, undisturbed: Picture) -> Findings:
        """What this one lacks, and what it has too much."""
        found = Findings()
        if (self.status, self.counts) != (undisturbed.status, undisturbed.counts):
            found.lost.append(f"{self.status} {self.counts}, not {undisturbed.status} {undisturbed.counts}")
        found.lost += [f"row {row}" for row in (undisturbed.rows - self.rows).elements()]
        found.doubled += [f"row {row}" for row in (self.rows - undisturbed.rows).elements()]
        found.lost += _differences("object", self.objects, undisturbed.objects)
        found.lost += _differences("sidecar of", self.sidecars, undisturbed.sidecars)
        found.doubled += [f"object {path}" for path in sorted(self.objects.keys() - undisturbed.objects)]
        found.doubled += [f"sidecar of {p}" for p in sorted(self.sidecars.keys() - undisturbed.sidecars)]
        return found


def _differences(what: str, mine: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{what} {path}: {mine[path]!r}, not {value!r}" if path in mine else f"{what} {path}: it is not there"
        for path, value in sorted(wanted.items())
        if path not in mine or mine[path] != value
    ]


class Ledger:
    """One ended execution, read from its deployment.

    Args:
        source: the execution that a replay reads from.
    """

    def __init__(self, deployment: Deployment, execution: str, *, source: str | None = None) -> None:
        self._deployment = deployment
        self.id = execution
        self.source = source or execution
        self._uuid = UUID(execution)

    # -- contents ----------------------------------------------------------------------------------

    @cached_property
    def shown(self) -> Any:
        """The execution as the API shows it."""
        return self._deployment.get(f"/executions/{self.id}")

    @cached_property
    def rows(self) -> list[Row]:
        return [
            Row(
                n=r["n"],
                correlation_id=_id(r["id"]),
                route=r["route"],
                external=bool(r["external"]),
                feeds=tuple(json.loads(r["feeds"])),
                state=ROW_STATES[r["state"]],
                confirmed=r["published"] == 1
                or (r["published"] is None and (r["ordinal"] or 0) <= (r["watermark"] or 0)),
                root=r["parent"] is None,
                key=r["object_key"],
                attempt=r["attempt"],
                parent=r["parent"],
                error_code=r["error_code"],
            )
            for r in self._deployment.rows(_MESSAGES, self._uuid)
        ]

    @cached_property
    def made(self) -> list[Made]:
        """The outputs that count: those that are stored."""
        return self._made(self.id)

    def _made(self, execution: str) -> list[Made]:
        return [
            Made(r["key"], r["message"], r["attempt"], r["size"], r["sha256"].hex())
            for r in self._deployment.rows(
                "SELECT * FROM outputs WHERE key > ? AND key < ? AND state = ? ORDER BY key",
                *(f"{execution}/", f"{execution}0", STORED),
            )
        ]

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Every object below the execution, by its whole key."""
        return self._deployment.stored(self.id)

    @cached_property
    def notes(self) -> list[Note]:
        parts = [line.split() for line in self._deployment.noted(self.id)]
        return [Note(what, route, cid, int(attempt)) for what, route, cid, attempt in parts]

    # -- what must be equal ------------------------------------------------------------------------

    def picture(self) -> Picture:
        rows = {r.n: r for r in self.rows}
        parents = {n: (r.route, self._plain(r.key)) for n, r in rows.items()}
        return Picture(
            status=self.shown["status"],
            counts=self.shown["counts"],
            objects={self._plain(k): v for k, v in self.files.items() if not k.endswith(SIDECAR)},
            sidecars={
                self._plain(k.removesuffix(SIDECAR)): self._fields(v)
                for k, v in self.files.items()
                if k.endswith(SIDECAR)
            },
            rows=Counter(
                (
                    *(r.route, r.state, self._plain(r.key), r.confirmed, r.error_code),
                    parents[r.parent] if r.parent else None,
                )
                for r in rows.values()
            ),
        )

    def _plain(self, text: str) -> str:
        return text.replace(self.id, "EXECUTION").replace(self.source, "SOURCE")

    def _fields(self, sidecar: bytes) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self._plain(sidecar.decode()))
        return {k: (v is not None) if k in _VOLATILE else v for k, v in fields.items()}

    # -- what must hold ----------------------------------------------------------------------------

    def audit(self, *, route: str, found: Sequence[str] | None = None) -> Findings:
        """Recount from rows, objects and notes, without another execution to compare with.

        Args:
            route: where the inputs (of the source) were sent.
            found: their keys, where the source is others' and no row tells them.
        """
        seen = Findings(again=sum(max(r.attempt - 1, 0) for r in self.rows))
        by_place = Counter((r.route, r.key) for r in self.rows)
        if found is None:
            found = [made.key for made in self._made(self.source) if made.message is None]
        wanted = Counter(self._wanted(route, found))
        seen.lost += [f"no row for {key} in {to}" for to, key in (wanted - by_place).elements()]
        seen.doubled += [f"a row too many for {key} in {to}" for to, key in (by_place - wanted).elements()]
        seen.lost += [f"{r.route} of {r.key} is {r.state}" for r in self.rows if r.state != "completed"]
        seen.uncertain += [f"{r.route} of {r.key}" for r in self.rows if not r.confirmed]
        seen.add(self._audit_store())
        seen.add(self._audit_work())
        seen.add(self._audit_external())
        seen.lost += self._miscounted()
        return seen

    def _wanted(self, route: str, inputs: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The rows that there should be: inputs times the entry, stored outputs times what they feed."""
        feeds = {r.n: r.feeds for r in self.rows}
        for key in inputs:
            yield route, key
        for made in self.made:
            if made.message is not None:
                for to in feeds[made.message]:
                    yield to, made.key

    def _audit_store(self) -> Findings:
        """Each stored output is in the store as recorded, and those of a message are of one attempt."""
        found = Findings()
        ids = {r.n: r.correlation_id for r in self.rows}
        attempts: dict[int, set[int | None]] = {}
        for made in self.made:
            data = self.files.get(made.key)
            if data is None or (len(data), hashlib.sha256(data).hexdigest()) != (made.size, made.sha256):
                found.lost.append(f"the bytes of {made.key}")
            sidecar = json.loads(self.files.get(made.key + SIDECAR, b"{}"))
            says = tuple(sidecar.get(k) for k in ("key", "size", "sha256", "attempt", "correlation_id"))
            by = ids[made.message] if made.message is not None else None
            if says != (made.key, made.size, made.sha256, made.attempt, by):
                found.lost.append(f"the sidecar of {made.key}, which says {says}")
            if made.message is not None:
                attempts.setdefault(made.message, set()).add(made.attempt)
        mixed = [n for n, of in attempts.items() if len(of) > 1]
        found.doubled += [f"outputs of {attempts[n]}, attempts of one message {ids[n]}" for n in mixed]
        return found

    def _audit_work(self) -> Findings:
        """Each message was worked to its end in the attempt that its row names, and no attempt ran twice."""
        found = Findings()
        notes = Counter(self.notes)
        found.doubled += [f"{n.what} {times} times: {n}" for n, times in notes.items() if times > 1]
        known = {r.correlation_id: r for r in self.rows}
        for r in self.rows:
            if not r.external and not notes[Note("finished", r.route, r.correlation_id, r.attempt)]:
                found.lost.append(f"attempt {r.attempt} at {r.route} of {r.key} was never finished")
        for n in notes:
            if n.correlation_id not in known or n.attempt > known[n.correlation_id].attempt:
                found.doubled.append(f"work without a claim: {n}")
        return found

    def _audit_external(self) -> Findings:
        """Each message to others is in their queue. Twice is allowed, by the same id: they drop it."""
        found = Findings()
        queues = {r["route"]: r["queue"] for r in self._deployment.items(f"/executions/{self.id}/routes")}
        for route in {r.route for r in self.rows if r.external}:
            there = self._deployment.called(queues[route], self.id)
            mine = {r.correlation_id for r in self.rows if r.route == route}
            found.lost += [f"{cid} is not in {queues[route]}" for cid in sorted(mine - there)]
            found.doubled += [f"{cid} in {queues[route]} has no row" for cid in sorted(there - mine)]
        return found

    def _closed(self, batch: str) -> Any:
        found = self._deployment.get(f"/replays/{batch}")
        return found if found["state"] != "publishing" else None

    def _miscounted(self) -> list[str]:
        """What the API counts otherwise than the rows and the files do."""
        told = []

        def check(what: str, shown: object, counted: object) -> None:
            if shown != counted:
                told.append(f"{what} are shown as {shown}, and counted as {counted}")

        def counts(rows: Sequence[Row]) -> dict[str, int]:
            of = Counts.of(Counter(r.state for r in rows))
            return {name: getattr(of, name) for name in Counts.__dataclass_fields__}

        check("the counts", self.shown["counts"], counts(self.rows))
        for shown in self._deployment.items(f"/executions/{self.id}/routes"):
            mine = [r for r in self.rows if r.route == shown["route"]]
            check(f"the counts of {shown['route']}", shown["counts"], counts(mine))
        stages = {
            s["stage"]: (s["objects"], s["bytes"])
            for s in self._deployment.get(f"/executions/{self.id}/stages")["items"]
        }
        sizes: dict[str, list[int]] = {}
        for made in self.made:
            sizes.setdefault(made.key.split("/")[1], []).append(made.size)
        check(
            "objects and bytes",
            {k: v for k, v in stages.items() if v[0]},
            {k: (len(v), sum(v)) for k, v in sizes.items()},
        )
        batch = self.shown["replay_batch_id"]
        if batch:
            # An execution ends with its last row; its job is closed after that.
            replay = self._deployment.until(
                lambda: self._closed(batch), f"the job of replay {batch} to be closed"
            )
            roots = sum(r.root for r in self.rows)
            names = ("objects_found", "objects_published", "objects_failed", "status")
            check(
                "the replay's numbers",
                tuple(replay[n] for n in names),
                (roots, roots, 0, "publishing_complete"),
            )
        return told


def _id(value: Any) -> str:
    """An id as SQLite holds it (16 bytes), or PostgreSQL."""
    return str(UUID(bytes=value) if isinstance(value, bytes) else value)
