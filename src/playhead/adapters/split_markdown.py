"""`split_markdown`: a page of markdown becomes segments that are small enough to index."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field
from semantic_text_splitter import MarkdownSplitter

from playhead import Item, Output, Reject, adapter

_TEXT = ("text/markdown", "text/plain")


class SplitMarkdownConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    max_characters: int = Field(1200, ge=1, le=100_000, description="No segment is longer.")


@adapter("split_markdown", produces="text/markdown")
def split_markdown(item: Item, config: SplitMarkdownConfig) -> Iterator[Output]:
    """Split markdown where its headings, blocks and sentences allow it.

    Segments are as long as they may be, in order, without white space around them. The attribute
    `part` is a segment's number from 1; the page's own attributes, its `title` among them, pass on.
    """
    if item.content_type.partition(";")[0].strip().lower() not in _TEXT:
        raise Reject(f"cannot read {item.content_type}: neither markdown nor plain text")
    segments = MarkdownSplitter(config.max_characters).chunks(item.text)
    for part, segment in enumerate(segments, 1):
        yield item.derive(segment, part=part)
