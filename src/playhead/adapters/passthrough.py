"""`passthrough`: hand an item on as it is, to store it under another stage or to try a route."""

from __future__ import annotations

from playhead import Item, Output, adapter


@adapter("passthrough")
def passthrough(item: Item) -> Output:
    """Hand the item on unchanged: bytes, path, content type and attributes."""
    return item.derive(item.data)
