"""Which key an output gets when its own is bound already: the rule, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from playhead.backends._sql_catalog.rows import SUPERSEDED, WRITING
from playhead.keys import renamed
from playhead.ports.catalog.work import Binding, Bound, NewOutput, Unbound

NEW_OUTPUT: Final = "key, message, attempt, size, sha256, fingerprint, content_type, attributes"
"""The columns of `Todo.row`."""
_FINGERPRINT: Final = 5

KNOWN: Final = "SELECT key, message, attempt, state, fingerprint, created_at FROM outputs "
"""Rows of keys in question: what an `Output` is made from, behind its key."""


class Output(NamedTuple):
    """What an outputs row says to who wants its key."""

    message: int | None
    attempt: int
    state: int
    fingerprint: bytes
    created_at: float


@dataclass(frozen=True)
class Todo:
    """A binding that may be made: its message's row, and what stands before its outputs' paths."""

    binding: Binding
    attributes: Sequence[str]
    n: int
    prefix: str

    @cached_property
    def keys(self) -> list[str]:
        return [self.prefix + output.path for output in self.binding.outputs]

    def renamed(self, output: NewOutput) -> str:
        """The path for an output whose own holds other bytes of an earlier attempt."""
        return renamed(output.path, self.binding.attempt, room=len(self.prefix.encode()))

    def row(self, key: str, output: NewOutput, attributes: str) -> tuple[Any, ...]:
        """With the columns `NEW_OUTPUT`."""
        return (
            *(key, self.n, self.binding.attempt, output.size, output.sha256, output.fingerprint),
            *(output.content_type, attributes),
        )


def wanted_once(todo: Sequence[Todo]) -> list[Todo]:
    """Those whose every key is wanted by nobody else, and only once."""
    uses = Counter(key for one in todo for key in one.keys)
    return [one for one in todo if all(uses[key] == 1 for key in one.keys)]


def all_keys(todo: Sequence[Todo]) -> list[str]:
    """All the keys in question for a `Plan`."""
    return [
        one.prefix + path
        for one in todo
        for output in one.binding.outputs
        for path in (output.path, one.renamed(output))
    ]


@dataclass
class Plan:
    """How outputs are to be bound of which some have a key that is bound already.

    Attributes:
        known: rows of all the keys in question, those that are planned included.
        inserts: rows to make, as `Todo.row` gives them, by key.
        states: rows to change.
    """

    known: dict[str, Output]
    now: float
    inserts: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)

    def bind(self, one: Todo) -> list[Bound] | Unbound:
        """Plan one attempt's outputs, all or none of them."""
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
