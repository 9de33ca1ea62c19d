"""Find phrases in prose that a reader of technical English stumbles over.

Prose is Markdown, comments, docstrings and string literals (messages, help), and the names of tests. A hit
marks a place to rewrite: change the sentence, not the word. `CONTRIBUTING.md` has the rules.

    python -m tools.plain                  check the project; exit with 1 above the limits
    python -m tools.plain PATH...          list the hits in these files or folders
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
ALLOWED: Final = ROOT / "tools" / "plain.toml"

# docs/reference is generated from src.
PAGES: Final = (
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*")) if path.name != "reference"),
    *(
        "README.md",
        "CHANGELOG.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "examples",
        "deploy",
        "compose.yaml",
    ),
    *("tools", ".ci", ".github", "Makefile"),
)
#: What is checked, and how many hits per 1,000 lines of prose it may have.
LIMITS: Final = ((PAGES, 1.0), (("src", "docs/reference"), 1.0), (("tests", "bench"), 3.0))

#: What a hit is called (with what to write instead), and how it is found.
PHRASES: Final = {
    "anew: again, new": r"\banew\b",
    "beside: next to, with, in addition to": r"\bbeside\b",
    "is none: is not a, there are no": r"\b(?:is|are|was|were) none\b",
    "of ours, of others: name the owner": r"\bof (?:ours|others|theirs)\b",
    "tells of: reports, describes": r"\b(?:tell|tells|telling|told) of\b",
    "told: reported, logged": r"\btold\b(?! (?:to|not to)\b)",
    "nobody: no process, no client": r"\bnobody\b",
    "who as a subject: name it": r"(?:^|[.;:] )who (?:\w+s|has|is|can|was)\b|\bwhoever\b",
    "what is held: the held ...": (
        r"\bwhat (?:is|was|are|were|has|had) (?:held|there|stored|left(?! out)|known|away|in hand|waiting|due"
        r"|been|begun|done)\b"
    ),
    "stands still: is suspended, stalls": r"\b(?:standstill|stands? still|stood still|standing still)\b",
    "stands: is": r"\bstands? (?:in|at|there|beside|above|under|behind)\b",
    "mend: fix, repair": r"\bmend(?:s|ed|ing)?\b",
    "came of: results from": r"\b(?:come|comes|came) of\b",
    "in hand: in progress, claimed": r"\bin hand\b",
    "gives back: releases, returns": r"\b(?:gives?|gave|given|giving) (?:\w+ )?back\b",
    "lets go: releases": r"\blets? go\b",
    "but for: except": r"\bbut for\b",
    "private word: see the glossary": r"\b(?:burnt|strangers|homeless|doubles)\b",
    "away: unavailable, unreachable": r"\b(?:is|are|was|were|be|been) away\b",
    "so many: up to a limit, this number of": r"\bso many\b",
    "of today, of late: current, recent": r"\bof (?:today|late|old)\b",
    "dear: expensive": r"\bdear\b",
    "gives none: returns nothing": r"\bgives none\b",
}
_PHRASES: Final = {name: re.compile(found, re.IGNORECASE) for name, found in PHRASES.items()}
_SUFFIXES: Final = (".py", ".md", ".sql", ".toml", ".yaml", ".yml")
# Third-party files, and this list itself.
_SKIPPED: Final = ("static", "__pycache__", "plain.py", "plain.toml")


@dataclass(frozen=True)
class Block:
    """Lines that read as one text: a paragraph, a docstring, a comment over several lines.

    Attributes:
        line: the number of its first line.
    """

    line: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Hit:
    path: Path
    line: int
    phrase: str
    text: str
    """The words as found, on one line."""
    context: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.phrase}: {self.context}"


@dataclass(frozen=True)
class Allowed:
    """A phrase that may be used, and why; `path` is a glob."""

    text: str
    reason: str
    path: str = "*"

    def fits(self, hit: Hit) -> bool:
        return hit.text.lower() == self.text.lower() and fnmatch(str(hit.path), self.path)


def allowed(file: Path = ALLOWED) -> list[Allowed]:
    """Read the allow-list."""
    return [Allowed(**entry) for entry in tomllib.loads(file.read_text(encoding="utf-8")).get("allow", [])]


def files(paths: Sequence[str], root: Path = ROOT) -> Iterator[Path]:
    """Yield the files with prose below these paths, each once, relative to the root where possible."""
    for name in paths:
        path = root / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in found:
            if path.is_dir() and (file.suffix not in _SUFFIXES or set(file.parts) & set(_SKIPPED)):
                continue
            if file.is_file():
                yield file.relative_to(root) if file.is_relative_to(root) else file


def blocks(text: str, suffix: str) -> Iterator[Block]:
    """Yield the prose of a file in reading order."""
    if suffix == ".py":
        yield from _of_python(text)
    elif suffix in (".yaml", ".yml", ".toml", ".sql"):
        yield from _joined((n, re.split(r"#|--", line, maxsplit=1)[1:]) for n, line in _numbered(text))
    else:
        yield from _joined((n, [line] if line.strip() else []) for n, line in _numbered(text))


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    return enumerate(text.splitlines(), 1)


def _joined(lines: Iterator[tuple[int, list[str]]]) -> Iterator[Block]:
    """Join neighbouring lines that have prose."""
    first, block = 0, list[str]()
    for number, prose in lines:
        if not prose and block:
            yield Block(first, tuple(block))
            block = []
        elif prose:
            first = first if block else number
            block += prose
    if block:
        yield Block(first, tuple(block))


def _of_python(text: str) -> Iterator[Block]:
    first, comment = 0, list[str]()
    previous = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            if comment and token.start[0] != first + len(comment):
                yield Block(first, tuple(comment))
                comment = []
            first = first if comment else token.start[0]
            comment.append(token.string.lstrip("#: "))
        elif kind in ("STRING", "FSTRING_MIDDLE"):
            yield Block(token.start[0], tuple(token.string.splitlines()))
        elif kind == "NAME" and previous == "def" and token.string.startswith("test_"):
            yield Block(token.start[0], (token.string.replace("_", " "),))
        previous = token.string
    if comment:
        yield Block(first, tuple(comment))


def hits(path: Path, block: Block) -> Iterator[Hit]:
    """Yield the phrases of a block, also those that a line break splits."""
    text = "\n".join(line.strip() for line in block.lines)
    flat = text.replace("\n", " ")
    for name, found in _PHRASES.items():
        for match in found.finditer(flat):
            above = text.count("\n", 0, match.start())
            yield Hit(path, block.line + above, name, match[0], block.lines[above].strip()[:140])


def look(paths: Sequence[str], root: Path = ROOT) -> tuple[list[Hit], int]:
    """Return the hits below these paths, and the number of lines of prose."""
    found: list[Hit] = []
    lines = 0
    for path in files(paths, root):
        text = (root / path).read_text(encoding="utf-8", errors="replace")
        for block in blocks(text, path.suffix):
            lines += len(block.lines)
            found += hits(path, block)
    return found, lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.plain", description="Find phrases in prose that a reader stumbles over."
    )
    parser.add_argument("--count", action="store_true", help="print totals only")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files or folders; default: the project")
    chosen = parser.parse_args(arguments)
    exceptions = allowed()
    if chosen.paths:
        paths = [str(Path(path).resolve()) for path in chosen.paths]
        return int(bool(_report(*look(paths), exceptions, limit=0, count=chosen.count)))
    every: list[Hit] = []
    above = False
    for names, limit in LIMITS:
        found, lines = look(names)
        every += found
        above |= _report(found, lines, exceptions, limit=limit, count=chosen.count)
    unused = [one.text for one in exceptions if not any(one.fits(hit) for hit in every)]
    for text in unused:
        print(f"{ALLOWED.relative_to(ROOT)}: nothing matches {text!r}. Remove the entry.")
    return int(above or bool(unused))


def _report(
    found: list[Hit], lines: int, exceptions: Sequence[Allowed], *, limit: float, count: bool
) -> bool:
    """Print the hits that no exception allows; return whether there are more than the limit allows."""
    left = [hit for hit in found if not any(one.fits(hit) for one in exceptions)]
    if count:
        for phrase, number in Counter(hit.phrase for hit in left).most_common():
            print(f"{number:6} {phrase}")
    else:
        print(*left, sep="\n", end="\n" if left else "")
    rate = 1000 * len(left) / max(lines, 1)
    print(f"{len(left)} hits in {lines} lines of prose: {rate:.1f} per 1,000 (limit {limit:g})")
    return rate > limit


if __name__ == "__main__":
    sys.exit(main())
