"""`passthrough`: return an item unchanged, to store it in another stage or to test a route."""

from __future__ import annotations

from playhead import Item, Output, adapter


@adapter("passthrough")
def passthrough(item: Item) -> Output:
    """Return the item unchanged: bytes, path, content type and attributes."""
    return item.derive(item.data)
