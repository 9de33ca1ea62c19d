"""Checks that two backends of one port give the same answers, except for the ids that each mints."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test as run_machine

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


class Differ(AssertionError):
    """The answers are not the same."""


def run_both(machine: type[RuleBasedStateMachine], examples: int, *, steps: int, **parts: Any) -> None:
    """Run random sequences of calls on a machine that has two backends.

    Args:
        parts: attributes of the machine, such as the function that opens the second backend.
    """
    run_machine(
        type(machine.__name__, (machine,), parts),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize="PLAYHEAD_TEST_EXAMPLES" not in os.environ,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            report_multiple_bugs=False,
        ),
    )


class Agreement:
    """Holds answers of two sides against each other.

    An id of one side that stands where the other has another id is taken for the same thing, and has to
    stay so: the ids of both sides are matched one to one, and the match only grows.

    Args:
        aside: fields, as `Class.field`, of which only that both or neither are None is compared.
    """

    def __init__(self, aside: frozenset[str] = frozenset()) -> None:
        self._aside = aside
        self._theirs: dict[UUID, UUID] = {}
        self._ours: dict[UUID, UUID] = {}

    def theirs(self, ours: UUID) -> UUID:
        """The other side's id of the same thing."""
        return self._theirs[ours]

    def ours(self, theirs: UUID) -> UUID | None:
        """Return the first side's id for an id of the second side; None if it is new."""
        return self._ours.get(theirs)

    def check(self, ours: Any, theirs: Any, where: str = "answer") -> None:
        """Raise `Differ` with the position of the first difference."""
        if isinstance(ours, UUID) and isinstance(theirs, UUID):
            self._match(ours, theirs, where)
        elif isinstance(ours, str) and isinstance(theirs, str):
            self._texts(ours, theirs, where)
        elif dataclasses.is_dataclass(ours) and type(ours) is type(theirs):
            self._fields([f.name for f in dataclasses.fields(ours)], ours, theirs, where)
        elif hasattr(ours, "_fields") and type(ours) is type(theirs):
            self._fields(ours._fields, ours, theirs, where)
        elif isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            self.check(sorted(ours.items()), sorted(theirs.items()), where)
        elif isinstance(ours, Sequence | set) and isinstance(theirs, Sequence | set):
            if len(ours) != len(theirs):
                raise Differ(f"{where}: {ours!r} and {theirs!r}")
            for n, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                self.check(one, other, f"{where}[{n}]")
        elif ours != theirs:
            raise Differ(f"{where}: {ours!r} and {theirs!r}")

    def _fields(self, names: Sequence[str], ours: Any, theirs: Any, where: str) -> None:
        for name in names:
            one, other = getattr(ours, name), getattr(theirs, name)
            if f"{type(ours).__name__}.{name}" in self._aside:
                one, other = one is None, other is None
            self.check(one, other, f"{where}.{name}")

    def _texts(self, ours: str, theirs: str, where: str) -> None:
        ids = zip(_UUID.findall(ours), _UUID.findall(theirs), strict=False)
        for one, other in ids:
            self._match(UUID(one), UUID(other), where)
        if _UUID.sub("…", ours) != _UUID.sub("…", theirs):
            raise Differ(f"{where}: {ours!r} and {theirs!r}")

    def _match(self, ours: UUID, theirs: UUID, where: str) -> None:
        if self._theirs.setdefault(ours, theirs) != theirs or self._ours.setdefault(theirs, ours) != ours:
            raise Differ(f"{where}: {ours} was {self._theirs.get(ours)} of the other side, not {theirs}")
