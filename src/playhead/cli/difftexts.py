"""`diff --text`: how the texts of two objects differ, in the unified format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from playhead import textdiff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead.cli.deployment import Deployment
    from playhead.model import DiffObject, DiffSide

MOST_BYTES: Final = 64_000
"""Size up to which an object is compared: `textdiff.compare` takes less than a second for two of them."""
MOST_LINES: Final = 400
"""Lines of each difference."""
_SIGNS: Final = {"same": " ", "del": "-", "add": "+"}


async def difference(rt: Deployment, one: DiffObject) -> list[str]:
    """Return how an object differs as lines: a unified difference, or the reason why it cannot be shown."""
    if one.a is None or one.b is None:
        return [f"Only in {'A' if one.a else 'B'}: {one.stage}/{one.path}"]
    texts = [await _text(rt, side) for side in (one.a, one.b)]
    if None in texts:
        why = f"at least one of the objects is pruned, not UTF-8, or larger than {MOST_BYTES:,} bytes"
        return [f"Differ, without a text difference: {one.stage}/{one.path} ({why})"]
    before, after = (text or "" for text in texts)
    return [f"--- {one.a.key}", f"+++ {one.b.key}", *unified(before, after)]


async def _text(rt: Deployment, side: DiffSide) -> str | None:
    if side.size > MOST_BYTES or side.pruned_at:
        return None
    found = await rt.services.objects.content(side.key)
    data = b"".join([chunk async for chunk in found.chunks])
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def unified(before: str, after: str) -> Iterator[str]:
    """Yield the lines of a difference as `diff -u` prints them, without the names of the files."""
    found = textdiff.compare(before, after)
    hunks, _ = textdiff.hunks(found, limit=MOST_LINES)
    for hunk in hunks:
        old = [line.old for line in hunk.lines if line.old]
        new = [line.new for line in hunk.lines if line.new]
        yield f"@@ -{_range(old)} +{_range(new)} @@"
        for line in hunk.lines:
            yield _SIGNS[line.change] + line.text
            if line.lacks_newline:
                yield "\\ No newline at end of file"
    shown = sum(line.change != "same" for hunk in hunks for line in hunk.lines)
    if left := found.added + found.removed - shown:
        yield f"… {left:,} more changed lines"


def _range(numbers: Sequence[int]) -> str:
    first, count = numbers[0] if numbers else 0, len(numbers)
    return f"{first}" if count == 1 else f"{first},{count}"


def as_json(one: DiffObject, lines: list[str]) -> dict[str, Any]:
    """Return an object that differs with its difference."""
    return {"stage": one.stage, "path": one.path, "state": one.state, "a": one.a, "b": one.b, "text": lines}
