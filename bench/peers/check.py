"""Whether an index has exactly the chunks of the documents, with their vectors.

This module uses neither of the systems: it splits the documents, computes the vectors and reads the index.
"""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from bench.peers.service import vector

Chunks: TypeAlias = Counter[tuple[str, str]]
_QUERIES: Final = {
    "playhead": "SELECT path, text, embedding FROM vector_current",
    "cocoindex": "SELECT document, text, embedding FROM chunk",
}
"""Each query returns the path, the text and the vector of a chunk. A vector consists of 32-bit floats."""


class Differences(NamedTuple):
    """What differs between an index and the documents.

    Attributes:
        missing: chunks of the documents that the index does not have.
        extra: rows of the index that no document has, or that are there more often than in the document.
        wrong: rows whose vector is not that of their text.
    """

    missing: int
    extra: int
    wrong: int

    def __str__(self) -> str:
        found = [f"{number:,} {name}" for name, number in self._asdict().items() if number]
        return ", ".join(found) or "exact"


def expected(texts: Mapping[str, str], *, tables: bool) -> Chunks:
    """Return the chunks of documents, each with its document, and how often it is there.

    Args:
        texts: the texts of the documents by path.
        tables: tables are chunks, too.
    """
    return Counter(
        (path, chunk) for path, text in texts.items() for chunk in _blocks(text) if tables or chunk[0] != "|"
    )


def differences(index: Path, system: str, chunks: Chunks) -> Differences:
    """Compare the file of SQLite that a system has filled with the chunks that it must have."""
    found: Chunks = Counter()
    wrong = 0
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as db:
        for path, text, stored in db.execute(_QUERIES[system]):
            # Playhead stores the chunks of `a.md` as `a/0001.json` and so on.
            document = path if path.endswith(".md") else path.rpartition("/")[0] + ".md"
            found[document, text] += 1
            values = vector(text)
            wrong += stored != struct.pack(f"<{len(values)}f", *values)
    return Differences((chunks - found).total(), (found - chunks).total(), wrong)


def _blocks(text: str) -> Iterator[str]:
    """Yield the blocks of a document, line by line."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line:
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []
