"""What becomes of messages on their way: fan-out, versions, failures, cancelling, lineage."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from playhead import Output, Retry
from tests.inprocess import Playhead, opened
from tests.stored import put, remove
from tests.waiting import until

LITTLE = 0.3
"""Seconds in which something that must not happen would have happened."""

ONE = """
entry: a
routes: {{a: {{{inbound}adapters: [{{type: do}}], outbound: {{stage: done}}{errors}}}}}
"""


def one(*, inbound: str = "", attempts: int = 3, delay: float = 0.01) -> str:
    """A config with one route that does what the test says."""
    errors = f", error_handling: {{max_attempts: {attempts}, retry_delay_seconds: {delay}}}"
    return ONE.format(inbound=f"inbound: {{{inbound}}}, " if inbound else "", errors=errors)


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path) as playhead:
        yield playhead


def same(item: Any, ctx: Any) -> Any:
    return item.data


def raising(error: Exception) -> Callable[[Any, Any], Any]:
    def fail(item: Any, ctx: Any) -> Any:
        raise error

    return fail


# -- fan-out and diamonds --------------------------------------------------------------------------


async def test_each_output_is_stored_in_the_stage_and_is_a_message_for_each_named_route(ph: Playhead):
    """Without `to` no route runs, and without `outbound` nothing is stored."""
    ph.steps.doing = lambda item, ctx: item.data if ctx.route == "b" else None
    await ph.apply("""
entry: a
routes:
  a: {adapters: [{type: words}], outbound: {stage: cut/words, to: [b, c]}}
  b: {adapters: [{type: do}], outbound: {stage: b}}
  c: {adapters: [{type: do}]}
  d: {adapters: [{type: do}], outbound: {stage: d}}
""")
    execution = await ph.run({"a.txt": " ".join("x" * 300), "b.txt": "", "c.txt": "y"})
    ended = await ph.execution(execution)
    assert ended["status"] == "completed"
    assert ended["counts"]["total"] == ended["counts"]["completed"] == 3 + 2 * 301
    assert Counter(s.ctx.route for s in ph.steps.seen) == {"b": 301, "c": 301}
    routes = await ph.items(f"executions/{execution}/routes")
    counted = {r["route"]: r["counts"]["completed"] for r in routes}
    assert {route: count for route, count in counted.items() if count} == {"a": 3, "b": 301, "c": 301}
    stored = await ph.stored(execution)
    assert Counter(path.partition("/")[0] for path in stored) == {"input": 3, "cut": 301, "b": 301}
    assert {path: text for path, text in stored.items() if "/c/" in path or path.startswith("input/c")} == {
        "input/c.txt": "y",
        "cut/words/c/0001.txt": "y",
        "b/c/0001.txt": "y",
    }


DIAMOND = """
entry: a
routes:
  a: {adapters: [{type: stamp}], outbound: {stage: a, to: [b, c]}}
  b: {adapters: [{type: stamp, config: {text: b}}], outbound: {stage: b, to: [d]}}
  c: {adapters: [{type: stamp, config: {text: c}}], outbound: {stage: c, to: [d]}}
  d: {adapters: [{type: do}], outbound: {stage: d}}
"""


async def test_two_ways_to_one_path_are_a_conflict_that_says_how_to_name_apart(ph: Playhead):
    ph.steps.doing = same
    await ph.apply(DIAMOND)
    execution = await ph.run({"x.txt": "x"})
    ended = await ph.execution(execution)
    assert (ended["status"], ended["counts"]["completed"], ended["counts"]["failed"]) == ("failed", 4, 1)
    [letter] = await ph.items("dead-letters", execution_id=execution)
    assert (letter["error_code"], letter["attempts"]) == ("output_conflict", 1)
    assert f"{execution}/d/x.txt" in letter["error"]
    assert "names that differ" in letter["error"]
    # The stored object is complete and was written by the completed attempt.
    [made] = await ph.items("lineage", object_key=f"{execution}/d/x.txt")
    assert made["correlation_id"] != letter["correlation_id"]
    assert (await ph.stored(execution))["d/x.txt"] == {"b": "x.b", "c": "x.c"}[
        made["input_key"].split("/")[1]
    ]


async def test_outputs_that_are_named_apart_meet_in_one_stage(ph: Playhead):
    ph.steps.doing = lambda item, ctx: Output(item.data, path=f"{item.stage}/{item.path}")
    await ph.apply(DIAMOND)
    execution = await ph.run({"x.txt": "x"})
    stored = await ph.stored(execution, "d")
    assert stored == {"d/b/x.txt": "x.b", "d/c/x.txt": "x.c"}


# -- versions, queues, workers ---------------------------------------------------------------------


async def test_a_run_stays_on_its_version_and_its_queue_is_drained_after_a_rename(ph: Playhead):
    source = """
entry: a
error_handling: {{max_attempts: 1}}
routes:
  a: {{adapters: [{{type: stamp, config: {{text: "{0}"}}}}], outbound: {{stage: a, to: [b]}}}}
  b: {{inbound: {{queue: {0}.b}}, adapters: [{{type: do}}], outbound: {{stage: b}}}}
"""
    await ph.apply(source.format("v1"))
    first = await ph.submit({"x.txt": "x"})
    await ph.apply(source.format("v2"))
    second = await ph.submit({"x.txt": "x"})
    ph.steps.doing = raising(ValueError("not yet"))
    async with ph.working():
        assert (await ph.ended(first))["config_version"] == 1
        assert (await ph.ended(second))["config_version"] == 2
    assert {m["config_version"] for m in await ph.messages(first)} == {1}
    assert [d["queue"] for d in await ph.items("dead-letters", execution_id=first)] == ["v1.b"]
    # Nor is a dead letter of the old version forgotten when it is sent again.
    ph.steps.doing = same
    await ph.post("dead-letters/resend", {"route": "b"}, 202)
    async with ph.working():
        await ph.ended(first)
        await ph.ended(second)
    assert (await ph.stored(first, "b"), await ph.stored(second, "b")) == (
        {"b/x.txt": "xv1"},
        {"b/x.txt": "xv2"},
    )


async def test_a_running_worker_takes_up_a_new_config_within_a_second(ph: Playhead):
    took: list[float] = []
    async with ph.working():
        await asyncio.sleep(LITTLE)
        # Half a second to look, and more on a busy machine. If the machine stalls, the test measures again.
        while not took or (min(took) > 1.5 and len(took) < 5):
            await ph.apply(f"name: docs{len(took)}\n{one()}")
            await ph.submit({"x.txt": "x"}, f"docs{len(took)}")
            waits = time.monotonic()  # without the requests, which take seconds on a busy machine
            await until(lambda: len(ph.steps.seen) > len(took))
            took.append(ph.steps.seen[-1].at - waits)
    assert min(took) < 1.5


SPECIAL = """
from playhead import Item, adapter

@adapter("special")
def special(item: Item) -> bytes:
    return item.data
"""


@pytest.mark.slow
async def test_a_worker_without_the_adapter_gives_its_messages_back_to_one_that_has_it(
    ph: Playhead, tmp_path: Path
):
    """As in a rolling update: the first was started before there was such an adapter."""
    file = tmp_path / "special.py"
    file.write_text(SPECIAL)
    async with opened(tmp_path, more=[file]) as newer:
        await newer.apply("""
entry: a
error_handling: {max_attempts: 1}
routes: {a: {inbound: {prefetch: 8}, adapters: [{type: special}], outbound: {stage: done}}}
""")
        execution = await newer.submit({f"{n}.txt": "x" for n in range(8)})
        async with ph.working():

            async def released() -> bool:
                rows = await ph.messages(execution)
                return {(r["status"], r["attempts"]) for r in rows} == {("retry", 0)}

            await until(released, seconds=10)  # all at once: one by one, it would take ten times as long
            async with newer.working():
                ended = await newer.ended(execution)
    assert (ended["status"], ended["counts"]["completed"]) == ("completed", 8)
    assert await ph.items("dead-letters") == []


# -- failures --------------------------------------------------------------------------------------


async def test_retry_says_when_to_try_again(ph: Playhead):
    """Not as the backoff says: that would be an hour."""

    def later(item: Any, ctx: Any) -> Any:
        if ctx.attempt < 3:
            raise Retry("busy", after=0.2)
        return item.data

    ph.steps.doing = later
    await ph.apply(one(attempts=3, delay=3600))
    execution = await ph.run({"x.txt": "x"})
    assert (await ph.execution(execution))["status"] == "completed"
    starts = [s.at for s in ph.steps.seen]
    assert len(starts) == 3
    assert all(b - a >= 0.2 for a, b in pairwise(starts))


class Unreadable(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")


NO_LINE: Any = b"x = "
"""`SyntaxError` takes any value for the text of the line, and only a `str` can be formatted."""


@pytest.mark.parametrize(
    ("error", "text", "trace"),
    [
        (
            SyntaxError("invalid syntax", ("table.py", 1, 5, NO_LINE)),
            "SyntaxError: invalid syntax (table.py, line 1)",
            "SyntaxError (the error cannot be formatted: TypeError)",
        ),
        (Unreadable(), "Unreadable: (the error's text cannot be read: SystemExit)", "Unreadable"),
    ],
    ids=["its line is not a text", "its text raises SystemExit"],
)
async def test_an_error_that_cannot_be_formatted_is_a_dead_letter_and_ends_no_worker(
    ph: Playhead, error: Exception, text: str, trace: str
):
    """It ended three workers, one after the other, and the error itself was lost."""
    fail = raising(error)
    ph.steps.doing = lambda item, ctx: fail(item, ctx) if item.path == "bad.txt" else item.data
    await ph.apply(one(attempts=1))

    execution = await ph.run({"bad.txt": "x", "good.txt": "y", "other.txt": "z"})

    assert await ph.stored(execution, "done") == {"done/good.txt": "y", "done/other.txt": "z"}
    [letter] = await ph.items("dead-letters", execution_id=execution)
    assert (letter["error_code"], letter["error"]) == ("adapter_error", text)
    shown = await ph.get(f"dead-letters/{letter['correlation_id']}")
    assert "in fail" in shown["traceback"]
    assert trace in shown["traceback"]


# -- attributes and objects ------------------------------------------------------------------------


async def test_attributes_pass_on_from_output_to_output_and_through_a_replay(ph: Playhead):
    await ph.apply("""
entry: a
routes:
  a:
    adapters: [{type: tag, config: {name: title, value: T}}, {type: tag, config: {name: colour, value: red}}]
    outbound: {stage: a, to: [b]}
  b:
    adapters: [{type: tag, config: {name: colour, value: [1, null]}}, {type: words}]
    outbound: {stage: b, to: [c]}
  c: {adapters: [{type: do}]}
""")
    execution = await ph.run({"x.txt": "one two"})
    replayed = (await ph.replay(execution, "b", "c"))["execution_id"]
    await ph.work(replayed)
    assert [dict(s.item.attributes) for s in ph.steps.seen] == [{"title": "T", "colour": [1, None]}] * 4
    sidecar = await ph.get("storage/objects/metadata", key=f"{execution}/b/x/0002.txt")
    assert sidecar["attributes"] == {"title": "T", "colour": [1, None]}
    assert [a["type"] for a in sidecar["adapters"]] == ["tag", "words"]
    assert all(a["version"] == "1" and a["code"].startswith("sha256:") for a in sidecar["adapters"])
    message = await ph.get(f"lineage/{sidecar['correlation_id']}")
    assert message["adapters"] == sidecar["adapters"], "the message names the code too"


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (remove, "object_gone"),
        (lambda root, key: put(root, key, b"other bytes"), "object_lost"),
        (lambda root, key: put(root, key, b"y"), "object_lost"),  # of the same size
        (lambda root, key: put(root, key, b""), "object_lost"),
    ],
    ids=["removed", "changed", "changed, same size", "emptied"],
)
async def test_a_changed_object_is_a_dead_letter(ph: Playhead, harm: Callable[[Path, str], Any], code: str):
    await ph.apply(one(attempts=5))
    execution = await ph.submit({"x.txt": "x", "z.txt": "z"})
    harm(ph.objects, f"{execution}/input/x.txt")
    await ph.work(execution)
    assert await ph.dead(execution) == {"input/x.txt": code}
    assert [s.path for s in ph.steps.seen] == ["z.txt"]


async def test_a_restored_object_can_be_sent_again(ph: Playhead):
    await ph.apply(one())
    execution = await ph.submit({"x.txt": "x"})
    remove(ph.objects, f"{execution}/input/x.txt")
    await ph.work(execution)
    ph.put(execution, "input/x.txt", "x")
    await ph.post("dead-letters/resend", {"execution_id": execution}, 202)
    await ph.work(execution)
    assert (await ph.execution(execution))["status"] == "completed"


# -- cancelling ------------------------------------------------------------------------------------
