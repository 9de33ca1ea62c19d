"""The keys of outputs whose preferred keys are already bound, in the SQL catalog."""

from __future__ import annotations

from playhead.backends._sql_catalog.bindings import Output, Plan, Todo
from playhead.backends.sql import SUPERSEDED, WRITING
from playhead.ids import uuid7
from playhead.ports.catalog.work import Binding, Bound, NewOutput

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"t" * 32


def _output(path: str, fingerprint: bytes) -> NewOutput:
    return NewOutput(path, 3, fingerprint, fingerprint, "text/plain", {})


def _second_attempt(*outputs: NewOutput) -> Todo:
    return Todo(Binding(uuid7(), 2, outputs), ["{}"] * len(outputs), 7, "e/s/")


def test_a_superseded_key_is_used_again_for_an_output_with_the_same_bytes():
    plan = Plan(
        {"e/s/a.md": Output(7, 1, SUPERSEDED, OTHER, 1.0), "e/s/a~2.md": Output(7, 1, WRITING, OLD, 1.0)},
        now=2.0,
    )
    bound = plan.bind(_second_attempt(_output("a~2.md", NEW), _output("a.md", OLD)))
    assert bound == [
        Bound("e/s/a~2~2.md", "a~2~2.md", 2, 2.0),
        Bound("e/s/a~2.md", "a~2.md", 1, 1.0),
    ]
    assert plan.known["e/s/a~2.md"].state == WRITING


def test_other_bytes_supersede_a_key_only_when_the_whole_attempt_is_bound():
    theirs = Output(8, 1, WRITING, OLD, 1.0)
    plan = Plan({"e/s/a.md": Output(7, 1, WRITING, OLD, 1.0), "e/s/b.md": theirs}, now=2.0)
    plan.bind(_second_attempt(_output("a.md", NEW), _output("b.md", NEW)))
    assert (plan.states, plan.inserts) == ({}, {})
    plan.bind(_second_attempt(_output("a.md", NEW)))
    assert plan.states == {"e/s/a.md": SUPERSEDED}
