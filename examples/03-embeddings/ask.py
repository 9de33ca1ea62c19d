"""Search the vector index:  python ask.py water temperature of sencha"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request

from playhead.adapters.sqlite_vectors import search


def embedded(text: str) -> list[float]:
    """Ask the service for the vector of a text, until it answers."""
    body = json.dumps({"model": "words", "input": [text]}).encode()
    headers = {"Authorization": f"Bearer {os.environ['TEAS_KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{os.environ['TEAS_URL']}/v1/embeddings", body, headers)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)["data"][0]["embedding"]
        except urllib.error.HTTPError as exc:
            if exc.code not in (429, 503):
                raise
            time.sleep(1)


for hit in search(".playhead/data/vectors.db", embedded(" ".join(sys.argv[1:])), limit=2):
    print(f"{hit.distance:.2f}  {hit.path}  {' / '.join(hit.text.splitlines())}")
