"""Split a document into its blocks."""

from __future__ import annotations

from collections.abc import Iterator

from playhead import Item, Output, adapter


@adapter("chunks", version="1", produces="text/plain")
def chunks(item: Item) -> Iterator[Output]:
    for block in item.text.split("\n\n"):
        if block.startswith("|"):
            continue
        yield item.derive(block)
