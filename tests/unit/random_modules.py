"""Random modules, edits of them, and what their adapters return."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import unified_diff
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

from tests.unit.random_statements import Statements, Writer


class Modules(NamedTuple):
    """A module with adapters, and a module that it imports."""

    steps_statements: Statements
    helper_statements: Statements
    steps_writer: Writer
    helper_writer: Writer

    @classmethod
    def written(cls, random: Random) -> Modules:
        steps, helper = Writer(random), Writer(random, in_helper=True)
        return cls(steps.module(), helper.module(), steps, helper)

    @property
    def steps(self) -> str:
        return "\n".join(self.steps_statements)

    @property
    def helper(self) -> str:
        return "\n".join(self.helper_statements)

    def edited(self, random: Random) -> Modules:
        """Return the modules with an edit of one statement."""
        if random.random() < 0.6:
            return self._replace(steps_statements=self.steps_writer.edit(self.steps_statements))
        return self._replace(helper_statements=self.helper_writer.edit(self.helper_statements))

    def difference(self, other: Modules) -> str:
        old, new = ([*one.steps.split("\n"), "# helper", *one.helper.split("\n")] for one in (self, other))
        return "\n".join(unified_diff(old, new, lineterm="", n=1))


@contextmanager
def _helper(text: str) -> Iterator[None]:
    module = ModuleType("helper")
    sys.modules["helper"] = module
    try:
        exec(compile(text, "helper", "exec"), vars(module))
        yield
    finally:
        del sys.modules["helper"]


class _TooLong(Exception):
    """A call calls too many functions, perhaps without end."""


class _Budget:
    left = 0

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _TooLong


def results(modules: Modules, calls: Sequence[tuple[str, str]]) -> list[tuple[str, str]] | None:
    """Return what calls of adapters return or raise; None if a module cannot be imported."""
    budget = _Budget()
    vars(builtins)["tick"] = budget
    found: list[tuple[str, str]] = []
    space: dict[str, Any] = {"__name__": "steps"}
    try:
        budget.left = 100
        with _helper(modules.helper):
            budget.left = 100
            exec(compile(modules.steps, "steps", "exec"), space)
            for name, x in calls:
                budget.left = 60
                try:
                    found.append((name, str(space[name](x))[:200]))
                except Exception as exc:
                    found.append((name, type(exc).__name__))
    except SyntaxError:
        raise
    except Exception:
        return None
    finally:
        del vars(builtins)["tick"]
    return found
