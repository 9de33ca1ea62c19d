"""Compute the vectors of chunks, up to 64 in a call."""

from __future__ import annotations

import json
from collections.abc import Sequence

from embedding_api import embedded

from playhead import Item, Output, adapter


@adapter("embed", version="1", batch=64, produces="application/json")
def embed(items: Sequence[Item]) -> list[Output]:
    texts = [item.text for item in items]
    return [
        item.derive(json.dumps({"text": text, "vector": vector}))
        for item, text, vector in zip(items, texts, embedded(texts), strict=True)
    ]
