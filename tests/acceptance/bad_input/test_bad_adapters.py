"""Adapters that break their contract: the message ends as expected, stores nothing, and affects no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from playhead import Context, Item, Output, Reject, Retry
from tests.acceptance.bad_input.requests import BAD_PATHS
from tests.counted import counts
from tests.inprocess import Playhead, opened
from tests.stored import is_stored

pytestmark = pytest.mark.slow

ATTEMPTS = 2
LIMIT = 100_000


def config(seconds: int) -> str:
    """A config with a time-out in seconds."""
    return f"""
entry: a
error_handling: {{max_attempts: {ATTEMPTS}, retry_delay_seconds: 0.01}}
routes:
  a:
    inbound: {{concurrency: 64}}
    timeout_seconds: {seconds}
    adapters: [{{type: do, condition: {{field: path, operator: matches, value: "[^a].*"}}}},
               {{type: ado, condition: {{field: path, operator: matches, value: "a.*"}}}}]
    outbound: {{stage: done}}
  last: {{adapters: [{{type: stamp}}]}}
"""


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words for it")


class Row(NamedTuple):
    """What an adapter does with an item, and what becomes of its message."""

    name: str
    does: Callable[[Item, Context], Any]
    code: str
    words: tuple[str, ...]
    attempts: int = 1


def raises(error: BaseException) -> Callable[[Item, Context], Any]:
    def fail(item: Item, ctx: Context) -> Any:
        raise error

    return fail


def gives(what: Any) -> Callable[[Item, Context], Any]:
    return lambda item, ctx: what


def _midway(item: Item, ctx: Context) -> Iterator[str]:
    yield "one"
    raise ValueError("in the middle")


def _bad_after_good(item: Item, ctx: Context) -> Iterator[Any]:
    yield "one"
    yield 2


def _errors() -> Iterator[Row]:
    errors: list[tuple[str, BaseException, tuple[str, ...]]] = [
        ("raises", ValueError("a curious case"), ("ValueError: a curious case",)),
        ("exits", SystemExit(3), ("SystemExit",)),
        ("stops", StopIteration("x"), ()),
        ("recurses", RecursionError("deep"), ("RecursionError",)),
        ("no memory", MemoryError(), ("MemoryError",)),
        ("half an error", ValueError("no \ud800"), ("ValueError", "\\ud800")),
        ("no words", Broken(), ("Broken", "the error's text cannot be read")),
        ("long", ValueError("x" * 5_000_000), ("characters left out",)),
    ]
    for name, error, words in errors:
        yield Row(name, raises(error), "adapter_error", words, ATTEMPTS)
    yield Row("busy", raises(Retry("still busy", after=0)), "retries_exhausted", ("still busy",), ATTEMPTS)
    yield Row("midway", _midway, "adapter_error", ("in the middle",), ATTEMPTS)
    yield Row("rejects", raises(Reject("unreadable")), "rejected", ("unreadable",))
    yield Row("rejects mutely", raises(Reject("")), "rejected", ("without a reason",))
    yield Row("not UTF-8", lambda item, ctx: Item("x", b"\xff").text, "rejected", ("not UTF-8",))


def _outputs() -> Iterator[Row]:
    wrong: dict[str, tuple[Any, str]] = {
        "a dict": ({"a": 1}, "returned dict; return None, Output"),
        "None in a list": (["x", None], "element 2 of its result is None"),
        "half a character": ("\ud800", "cannot be encoded as UTF-8"),
        "half an attribute": (Output(b"x", attributes={"a": "\ud800"}), "attributes are not JSON"),
    }
    for name, (what, word) in wrong.items():
        yield Row(name, gives(what), "bad_output", (word,))
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    yield Row("deep attributes", gives(Output(b"x", attributes={"a": deep})), "bad_output", ("not JSON",))
    yield Row("good, then bad", _bad_after_good, "bad_output", ("element 2",))
    yield Row(
        "large", gives(b"x" * (LIMIT + 1)), "object_too_large", ("PLAYHEAD_MAX_OBJECT_BYTES", f"{LIMIT}")
    )


def _paths() -> Iterator[Row]:
    for n, (path, why) in enumerate(BAD_PATHS.items()):
        what = Output(b"x", path=path)
        yield Row(f"path {n}", gives(what), "invalid_key", (why, "change Output.path"))
        yield Row(f"path {n} of two", gives([Output(b"x", path="fine"), what]), "invalid_key", (why,))
    half = Output(b"x", path="\ud800")
    yield Row("half a path", gives(half), "invalid_key", ("valid Unicode", "change Output.path"))
    twice = [Output(b"x", path="same"), Output(b"y", path="same")]
    yield Row("one path twice", gives(twice), "output_conflict", ("'same'",))
    # Of this size, outputs are files.
    within = [Output(b"x" * 100_000, path="tree"), Output(b"y" * 100_000, path="tree/leaf")]
    yield Row("a file and a folder", gives(within), "key_conflict", ("tree",))
    yield Row("of another", gives(Output(b"mine", path="taken")), "output_conflict", ("taken", "names"))


ROWS = [*_errors(), *_outputs(), *_paths()]
GOOD = {"good", "taken", "good too"}


@dataclass(frozen=True)
class Seen:
    """The results when all messages have ended, by the path of the input."""

    status: str
    counts: dict[str, int]
    letters: dict[str, dict[str, Any]]
    outputs: dict[str, list[str]]
    stored: dict[str, str]
    temporary: list[Path]
    exit_code: int


async def _all(home: Path) -> tuple[Seen, Seen]:
    """Work every row in one execution, and what must hang in another."""
    async with opened(home, max_object_bytes=LIMIT) as ph:
        does = {row.name.replace(" ", "-"): row.does for row in ROWS}
        good = {name.replace(" ", "-"): gives(Output(b"other", path=name)) for name in GOOD}
        ph.steps.doing = lambda item, ctx: (does | good)[item.path[1:]](item, ctx)
        await ph.apply(config(30))  # none of them hangs, though many at once may take a while
        # The one that is there first; then all that can't be right, with some that can among them.
        first = await ph.run({"bgood": "x"})
        assert (await ph.execution(first))["status"] == "completed"
        ordered = ["taken", *(path for path in does if path != "of-another"), "good", "good-too"]
        execution = await ph.submit({f"b{path}": "x" for path in [*ordered, "of-another"]})
        does_as_told = ph.steps.doing

        def in_turn(item: Item, ctx: Context) -> Any:
            taken = f"{execution}/done/taken"
            while item.path == "bof-another" and not is_stored(ph.objects, taken):
                if ph.steps.opened.wait(0.005):
                    break  # `opened` is set when the test ends, also after a failure
            return does_as_told(item, ctx)

        ph.steps.doing = in_turn
        code = await ph.work(execution)
        told = await _seen(ph, execution, code)

        async def sleeps(item: Item, ctx: Context) -> Any:
            if "raises" in item.path:
                raise ValueError("a curious case")
            if "wrong" in item.path:
                return {"a": 1}
            return await asyncio.sleep(60)

        def hangs(item: Item, ctx: Context) -> Any:
            return ph.steps.opened.wait(60)

        ph.steps.adoing, ph.steps.doing = sleeps, hangs
        await ph.apply(config(1))
        hung = await ph.submit({"asleeps": "x", "araises": "x", "awrong": "x", "bhangs": "x"})
        code = await ph.work(hung)
        return told, await _seen(ph, hung, code)


async def _seen(ph: Playhead, execution: str, code: int) -> Seen:
    shown = await ph.execution(execution)
    letters = await ph.items("dead-letters", execution_id=execution)
    messages = await ph.messages(execution)

    def path(key: str) -> str:
        return key.split("/", 2)[2]

    return Seen(
        shown["status"],
        shown["counts"],
        {path(letter["input_key"]): letter for letter in letters},
        {path(message["input_key"]): message["output_keys"] for message in messages},
        await ph.stored(execution, "done"),
        list((ph.objects / ".tmp").iterdir()),
        code,
    )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    return asyncio.run(_all(tmp_path_factory.mktemp("adapters")))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_message_whose_adapter_goes_wrong_is_dead_and_has_stored_nothing(seen: tuple[Seen, Seen], row: Row):
    name = f"b{row.name.replace(' ', '-')}"
    letter = seen[0].letters[name]
    assert (letter["error_code"], letter["attempts"]) == (row.code, row.attempts), letter["error"]
    assert not [word for word in row.words if word not in letter["error"]], letter["error"][:500]
    assert len(letter["error"]) < 10_000
    assert seen[0].outputs[name] == []


def test_the_others_are_not_disturbed_and_nothing_is_left_half_done(seen: tuple[Seen, Seen]):
    told, _ = seen
    assert (told.status, told.exit_code) == ("failed", 0)
    assert told.counts == counts(completed=len(GOOD), failed=len(ROWS))
    assert told.stored == {f"done/{name}": "other" for name in GOOD}
    assert told.temporary == []


@pytest.mark.parametrize(
    ("name", "code", "attempts", "words"),
    [
        ("asleeps", "adapter_timeout", ATTEMPTS, "no result within 1 s (timeout_seconds of route 'a')"),
        ("bhangs", "adapter_timeout", ATTEMPTS, "no result within 1 s (timeout_seconds of route 'a')"),
        ("araises", "adapter_error", ATTEMPTS, "ValueError: a curious case"),
        ("awrong", "bad_output", 1, "returned dict; return None, Output"),
    ],
)
def test_one_that_hangs_is_given_up_in_time_whether_it_is_a_coroutine_or_not(
    seen: tuple[Seen, Seen], name: str, code: str, attempts: int, words: str
):
    _, hung = seen
    letter = hung.letters[name]
    assert (letter["error_code"], letter["attempts"]) == (code, attempts), letter["error"]
    assert words in letter["error"]
    assert (hung.status, hung.exit_code, hung.temporary) == ("failed", 0, [])
    assert hung.stored == {}
