"""Steps whose results depend on the bytes of their items alone, so they are used again."""

from __future__ import annotations

from collections.abc import Iterator

from playhead import Item, adapter


@adapter("paragraphs", produces="text/plain")
def paragraphs(item: Item) -> Iterator[str]:
    yield from item.text.split("\n\n")


@adapter("loud", produces="text/plain", batch=4, wait_seconds=0.01)
def loud(items: list[Item]) -> list[str]:
    return [item.text.upper() for item in items]
