"""Compare the outputs of two executions by their content, document by document.

The parts of a document are the outputs that were made from the same object. Outputs that are the same at the
same path are yielded at once. The others wait until the next document begins, and are paired then: so memory
holds one page and the parts of one document.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from playhead.model import DiffState
from playhead.ports.catalog.outputs import Outputs
from playhead.reading.joining import Range, Records, join, rest_of
from playhead.reading.pairing import Paired, paired

MOST_PARTS: Final = 10_000
"""Outputs of a document in one stage that are paired at once. Later ones are paired among themselves."""
_PAIRED: Final = ("changed", "added", "missing")

States = Callable[[Range, Records, Records], Awaitable[Mapping[str, DiffState]]]
"""Returns the states of objects with the same path, by the rests of their keys."""


class Chunk(NamedTuple):
    """Outputs of a stage.

    Attributes:
        anchor: the rest of a key. A comparison that begins after it yields the same outputs again, after
            those of earlier chunks with this anchor.
        outputs: the outputs.
    """

    stage: str
    anchor: str
    outputs: Sequence[Paired]


@dataclass(slots=True)
class _Document:
    """The parts of a document that differ.

    Attributes:
        root: stage and path of the object that they were made from.
        anchor: the rest of the key before its first part.
    """

    root: str
    anchor: str
    left: Records = field(default_factory=dict)
    right: Records = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.left) + len(self.right)


async def by_content(
    catalog: Outputs,
    a: UUID,
    b: UUID,
    ranges: Iterable[Range],
    *,
    states: States,
    origins: Collection[str],
) -> AsyncIterator[Chunk]:
    """Yield the outputs of two executions in these ranges.

    Args:
        states: compares by path.
        origins: stages of the objects that documents begin with.
    """
    for within in ranges:
        last = within.first.removesuffix(" ")
        if last == within.stage:
            last = f"{last}/"
        document: _Document | None = None
        async for left, right in join(catalog, a, b, within):
            found = await states(within, left, right)
            differ = [rest for rest, state in found.items() if state in _PAIRED]
            roots = await _roots(catalog, [(right.get(rest) or left[rest]).key for rest in differ], origins)
            for rest in sorted(found):
                one, other = left.get(rest), right.get(rest)
                if found[rest] not in _PAIRED:
                    anchor = document.anchor if document else last
                    yield Chunk(within.stage, anchor, [Paired(rest, found[rest], one, other)])
                else:
                    shown = other or one
                    root = roots[shown.key] if shown else ""
                    if document and (document.root != root or len(document) >= MOST_PARTS):
                        yield _closed(within.stage, document)
                        document = None
                    document = document or _Document(root, last)
                    if one:
                        document.left[rest] = one
                    if other:
                        document.right[rest] = other
                last = rest
        if document:
            yield _closed(within.stage, document)


def _closed(stage: str, document: _Document) -> Chunk:
    return Chunk(stage, document.anchor, paired(document.left, document.right))


async def _roots(catalog: Outputs, keys: Sequence[str], origins: Collection[str]) -> dict[str, str]:
    """Return the stage and the path of the object from which each of these outputs was made.

    It is the nearest one above the output in a stage of `origins`, or else the topmost one.
    """
    roots = {key: rest_of(key) for key in keys}
    open_ = {key: key for key in keys}  # an ancestor of each output
    while open_:
        inputs = await catalog.inputs_of(list(set(open_.values())))
        above = {key: inputs[ancestor] for key, ancestor in open_.items() if ancestor in inputs}
        roots.update((key, rest_of(one.key)) for key, one in above.items())
        open_ = {key: one.key for key, one in above.items() if one.stage not in origins}
    return roots
