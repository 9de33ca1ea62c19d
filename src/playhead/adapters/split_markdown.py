"""`split_markdown`: split a page of markdown into segments that are small enough to index."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from pydantic import BaseModel, ConfigDict, Field
from semantic_text_splitter import MarkdownSplitter

from playhead import Item, Output, Reject, adapter

_TEXT = ("text/markdown", "text/plain")
_SEGMENTS: Final = 32
"""Segments in a piece; a page has fewer."""
_LEAST: Final = 1_000
_MOST: Final = 200_000
_CUTS: Final = (("\n#", "\n"), ("\n\n", "\n\n"), ("\n", "\n"), (" ", " "))
"""What is looked for, and the part of it that stays with the piece before."""


class SplitMarkdownConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    max_characters: int = Field(1200, ge=1, le=100_000, description="The longest segment.")


@adapter("split_markdown", produces="text/markdown")
def split_markdown(item: Item, config: SplitMarkdownConfig) -> Iterator[Output]:
    """Split markdown at headings, blocks and sentences.

    Segments are as long as the limit allows, in order, and without surrounding white space. The attribute
    `part` is the number of a segment, from 1. The attributes of the page, such as `title`, are kept.
    """
    if item.content_type.partition(";")[0].strip().lower() not in _TEXT:
        raise Reject(f"cannot read {item.content_type}: neither markdown nor plain text")
    splitter = MarkdownSplitter(config.max_characters)
    segments = chain.from_iterable(map(splitter.chunks, _pieces(item.text, config.max_characters)))
    for part, segment in enumerate(segments, 1):
        yield item.derive(segment, part=part)


def _pieces(text: str, max_characters: int) -> Iterator[str]:
    """Cut a long text before a heading, at an empty line, at a line end or at a blank: the first that exists.

    The splitter takes quadratic time: a list of 1 MB took 14 s in one piece, and takes 0.6 s in these.
    """
    size = min(max(_SEGMENTS * max_characters, _LEAST), _MOST)
    at = 0
    while len(text) - at > size:
        low, high = at + size // 2, at + size
        cuts = (text.rfind(mark, low, high) + len(before) for mark, before in _CUTS)
        cut = next((cut for cut in cuts if cut > low), high)
        yield text[at:cut]
        at = cut
    yield text[at:]
