"""Bind before write: an output's key is tied to its message before its first byte is stored.

New keys, which nearly all are, are bound in one statement. The other keys are planned in memory from one read
of all rows in question, and written at the end: an attempt is bound as a whole or not at all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql import RUNNING, SUPERSEDED, WRITING
from playhead.backends.sql.session import Session, natives
from playhead.backends.sql.statements import SQL
from playhead.keys import renamed
from playhead.ports.catalog.work import Binding, Bound, NewOutput, Unbound

_FINGERPRINT: Final = 5


class Output(NamedTuple):
    """What the row of a bound key holds."""

    message: int | None
    attempt: int
    state: int
    fingerprint: bytes
    created_at: float


@dataclass(frozen=True)
class Todo:
    """A binding whose token holds.

    Attributes:
        attributes: of each output, as JSON.
        n: the number of its message.
        prefix: what precedes the paths of its outputs in their keys.
    """

    binding: Binding
    attributes: Sequence[str]
    n: int
    prefix: str

    @cached_property
    def keys(self) -> list[str]:
        return [self.prefix + output.path for output in self.binding.outputs]

    def renamed(self, output: NewOutput) -> str:
        """The path for an output whose own key holds other bytes of an earlier attempt."""
        return renamed(output.path, self.binding.attempt, room=len(self.prefix.encode()))

    def row(self, key: str, output: NewOutput, attributes: str) -> tuple[Any, ...]:
        """A row for the statement `bind`, except its time."""
        return (
            *(key, self.n, self.binding.attempt, output.size, output.sha256, output.fingerprint),
            *(output.content_type, attributes),
        )


def wanted_once(todo: Sequence[Todo]) -> list[Todo]:
    """Return the attempts each of whose keys no other attempt, and no second output, wants."""
    uses = Counter(key for one in todo for key in one.keys)
    return [one for one in todo if all(uses[key] == 1 for key in one.keys)]


def all_keys(todo: Sequence[Todo]) -> list[str]:
    """Return all keys that a `Plan` may use."""
    return [
        one.prefix + path
        for one in todo
        for output in one.binding.outputs
        for path in (output.path, one.renamed(output))
    ]


@dataclass
class Plan:
    """How to bind attempts some of whose keys are bound already.

    Attributes:
        known: rows of all keys in question, planned ones included.
        inserts: rows to insert (see `Todo.row`), by key.
        states: new states of existing rows, by key.
    """

    known: dict[str, Output]
    now: float
    inserts: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)

    def bind(self, one: Todo) -> list[Bound] | Unbound:
        """Plan the outputs of one attempt, all or none of them."""
        bound: dict[str, Bound] = {}
        inserts: dict[str, tuple[Any, ...]] = {}
        states: dict[str, int] = {}
        for output, attributes in zip(one.binding.outputs, one.attributes, strict=True):
            for path in (output.path, one.renamed(output)):
                key = one.prefix + path
                if key in bound:
                    return Unbound(
                        "output_conflict", f"this attempt gives two outputs that would be stored as {key}"
                    )
                there = self.known.get(key)
                if there is None:
                    inserts[key] = one.row(key, output, attributes)
                    bound[key] = Bound(key, path, one.binding.attempt, self.now)
                    break
                if there.message != one.n:
                    return Unbound(
                        "output_conflict",
                        f"{key} was made by another message of this execution; give the outputs names that "
                        "differ, for instance with the input's path in them",
                    )
                state = states.get(key, there.state)
                if there.fingerprint == output.fingerprint:
                    if state == SUPERSEDED:
                        states[key] = WRITING
                    bound[key] = Bound(key, path, there.attempt, there.created_at)
                    break
                if state != SUPERSEDED:
                    states[key] = SUPERSEDED
            else:
                return Unbound(
                    "output_conflict", f"{one.prefix}{output.path} and {key} both hold other bytes already"
                )
        for key, row in inserts.items():
            self.known[key] = Output(one.n, one.binding.attempt, WRITING, row[_FINGERPRINT], self.now)
            self.inserts[key] = row
        for key, state in states.items():
            self.known[key] = self.known[key]._replace(state=state)
        self.states |= states
        return list(bound.values())


_Answer = list[Bound] | Unbound
"""Answers are kept by the `id` of their `Todo`."""


class BindPart(Part):
    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        # In ASCII: attributes of adapters may hold lone surrogates, which PostgreSQL rejects.
        encoded = [[json.dumps(o.attributes) for o in b.outputs] for b in bindings]

        async def bind_all(db: Session) -> list[list[Bound] | Unbound | None]:
            # Without these locks, a slow zombie could supersede what the next attempt has stored.
            keys = natives(db, [b.correlation_id for b in bindings])
            rows = await db.rows(SQL.lock_bindable, ids=keys)
            now = rows[0][6] if rows else 0.0
            held = {(row[0], row[1]): row for row in rows if row[2] == RUNNING}
            lanes = await self._lanes.learn(db, {row[4] for row in rows})
            origins = await self._origins.learn(db, {row[5] for row in rows})
            todo: list[Todo | None] = []
            for key, binding, attributes in zip(keys, bindings, encoded, strict=True):
                row = held.get((key, binding.attempt))
                if row is None:
                    todo.append(None)
                    continue
                stage = lanes[row[4]].stage
                assert stage is not None, "only a route with an outbound stage binds outputs"
                todo.append(Todo(binding, attributes, row[3], f"{origins[row[5]].id}/{stage}/"))
            wanted = [one for one in todo if one]
            answers = await self._bind_new(db, wanted, now)
            answers |= await self._bind_again(db, [one for one in wanted if id(one) not in answers], now)
            return [answers[id(one)] if one else None for one in todo]

        return await self._db.write(bind_all)

    async def _bind_new(self, db: Session, todo: Sequence[Todo], now: float) -> dict[int, _Answer]:
        """Bind the attempts all of whose keys are new."""
        alone = wanted_once(todo)
        rows = [
            (  # as `Todo.row` has it, without a call for each
                *(key, one.n, one.binding.attempt, o.size, o.sha256, o.fingerprint),
                *(o.content_type, attributes, now),
            )
            for one in alone
            for key, o, attributes in zip(one.keys, one.binding.outputs, one.attributes, strict=True)
        ]
        bound = {key for (key,) in await db.insert(SQL.bind, rows)}
        new: dict[int, _Answer] = {}
        for one in alone:
            if bound.issuperset(one.keys):
                attempt, outputs = one.binding.attempt, one.binding.outputs
                bound.difference_update(one.keys)
                new[id(one)] = [Bound(one.prefix + o.path, o.path, attempt, now) for o in outputs]
        if bound:  # of attempts some of whose keys are not new
            await db.run(SQL.unbind, keys=list(bound))
        return new

    async def _bind_again(self, db: Session, todo: Sequence[Todo], now: float) -> dict[int, _Answer]:
        """Bind attempts some of whose keys are bound already."""
        while todo:
            rows = await db.rows(SQL.bound_outputs, keys=all_keys(todo))
            plan = Plan({key: Output(*row) for key, *row in rows}, now)
            answers: dict[int, _Answer] = {id(one): plan.bind(one) for one in todo}
            bound = await db.insert(SQL.bind, [(*row, now) for row in plan.inserts.values()])
            if len(bound) == len(plan.inserts):
                for state in (WRITING, SUPERSEDED):
                    if changed := [key for key, new in plan.states.items() if new == state]:
                        await db.run(SQL.set_output_state, keys=changed, state=state)
                return answers
            # Another message has bound one of these keys since the read: nothing is kept, and the next read
            # sees its key. Each turn sees at least one more key, so this ends.
            await db.run(SQL.unbind, keys=[key for (key,) in bound])
        return {}
