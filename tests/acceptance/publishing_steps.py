"""A step for the tests of sinks: it makes a vector without a model."""

from __future__ import annotations

import json

from playhead import Item, adapter


@adapter("one_vector", produces="application/json")
def one_vector(item: Item) -> str:
    """A vector with two dimensions, and the text."""
    return json.dumps({"text": item.text, "vector": [1.0, float(len(item.text))]})
