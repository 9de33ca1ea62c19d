"""The client of the embedding service. Both jobs have a copy of this file."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Sequence


def embedded(texts: Sequence[str]) -> list[list[float]]:
    """Return the vectors of up to 64 texts. One call."""
    body = json.dumps({"texts": list(texts)}).encode()
    request = urllib.request.Request(f"{os.environ['EMBEDDING_API']}/embeddings", body)
    with urllib.request.urlopen(request, timeout=60) as answer:
        vectors: list[list[float]] = json.load(answer)["vectors"]
    return vectors
