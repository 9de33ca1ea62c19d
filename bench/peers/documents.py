"""The documents of the job, and how they change from day to day. The same in every run.

A document consists of blocks, with an empty line between them. A block that begins with `|` is a table.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FULL: Final = 2_000
"""Documents of the job at full size. All other numbers are for this size, and are scaled with it."""

_WITH_A_TABLE: Final = 765
_CHANGED, _NEW, _DELETED = 30, 10, 5
_BLOCKS: Final = (3, 10)
_EACH_LONG: Final = 200
_LONG_BLOCKS: Final = 80
_SYLLABLES: Final = ("ba", "do", "fe", "ki", "lu", "ma", "ne", "po", "ri", "sa", "te", "vu")


@dataclass
class Documents:
    """A folder of documents, and what is in it.

    Attributes:
        folder: where the documents are.
        count: documents at the beginning.
        texts: the text of each document by its path in the folder.
        tables: paths of the documents with a table.
        long: paths of the long documents.
    """

    folder: Path
    count: int
    texts: dict[str, str] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    long: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(self.count):
            path = self._write(_path(number), _document(number))
            if _is_long(number):
                self.long.append(path)
            if _has_a_table(number):
                self.tables.append(path)
        self._next = self.count

    def pass_a_day(self, day: int) -> None:
        """Change one block of some documents, and add and delete others: short ones without a table."""
        chance = random.Random(f"day {day}")
        plain = sorted(self.texts.keys() - {*self.tables, *self.long})
        chosen = chance.sample(plain, self._scaled(_CHANGED) + self._scaled(_DELETED))
        for path in chosen[: self._scaled(_CHANGED)]:
            blocks = self.texts[path].split("\n\n")
            blocks[chance.randrange(len(blocks))] = _block(chance)
            self._write(path, "\n\n".join(blocks))
        for path in chosen[self._scaled(_CHANGED) :]:
            del self.texts[path]
            (self.folder / path).unlink()
        for number in range(self._next, self._next + self._scaled(_NEW)):
            self._write(_path(number), _document(number, is_short=True))
            self._next += 1

    def insert_at_the_top(self) -> None:
        """Insert a block at the top of a long document."""
        path = self.long[-1]
        self._write(path, _block(random.Random("top")) + "\n\n" + self.texts[path])

    def _scaled(self, number: int) -> int:
        return max(1, round(number * self.count / FULL))

    def _write(self, path: str, text: str) -> str:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        self.texts[path] = text
        return path


def _path(number: int) -> str:
    return f"{number // 100:03d}/document{number:05d}.md"


def _has_a_table(number: int) -> bool:
    """Whether a document is one of the 765 of 2,000, which are spread evenly."""
    return number * _WITH_A_TABLE % FULL < _WITH_A_TABLE


def _is_long(number: int) -> bool:
    """Whether a document is one of the long ones, none of which has a table."""
    return number % _EACH_LONG == 1


def _document(number: int, *, is_short: bool = False) -> str:
    chance = random.Random(number)
    more = _LONG_BLOCKS if _is_long(number) and not is_short else 0
    blocks = [_block(chance) for _ in range(chance.randint(*_BLOCKS) + more)]
    if _has_a_table(number) and not is_short:
        rows = "\n".join(f"| {_words(chance, 2)} | {chance.randrange(1000)} |" for _ in range(5))
        blocks.insert(chance.randint(1, len(blocks)), rows)
    return "\n\n".join(blocks)


def _block(chance: random.Random) -> str:
    return _words(chance, chance.randint(30, 90)).capitalize() + "."


def _words(chance: random.Random, count: int) -> str:
    return " ".join("".join(chance.choices(_SYLLABLES, k=chance.randint(1, 4))) for _ in range(count))
