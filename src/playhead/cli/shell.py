"""Answering a shell that asks what a line may become. The scripts and the protocol are typer's."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Final

_ASKED: Final = "_PLAYHEAD_COMPLETE"
_BREAKS: Final = (":", "=")
_SPECIAL: Final = r"([^\w@%+,./:=^-])"


def asks() -> bool:
    """Whether a shell has called this program to complete a line."""
    return bool(os.environ.get(_ASKED))  # noqa: TID251 - what a shell says, and no setting


def answer(program: Callable[[Sequence[str]], object]) -> None:
    """Write what the line may become.

    Args:
        program: answers by the variables that typer's script for the shell has set, and exits; it is told
            the words of the line.
    """
    said = os.environ  # noqa: TID251
    # Typer looks for rich to make plain what it writes beside values, where it finds it; loading it takes
    # longer than all the rest, and there is nothing to make plain.
    sys.modules["rich"] = None  # type: ignore[assignment]
    if said[_ASKED] != "complete_bash":
        program(said.get("_TYPER_COMPLETE_ARGS", "").split())
        return
    line = said.get("COMP_WORDS", "")
    separator = "\n" if "\n" in line else " "
    words, begun = joined(line.split(separator)[: _number(said.get("COMP_CWORD", "")) + 1])
    said["COMP_WORDS"], said["COMP_CWORD"] = separator.join(words), str(len(words) - 1)
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            program(words)
    finally:
        for value in out.getvalue().splitlines():
            # Bash puts it in place of what follows the last break, and takes it as it stands.
            sys.stdout.write(re.sub(_SPECIAL, r"\\\1", value.removeprefix(begun)) + "\n")


def joined(words: Sequence[str]) -> tuple[list[str], str]:
    """Put together again what bash takes apart at `:` and `=`.

    Returns:
        the words, and how much of the last one bash keeps when it puts a value in.
    """
    made: list[str] = []
    begun = ""
    for number, word in enumerate(words):
        after_break = number > 0 and words[number - 1] in _BREAKS
        if len(made) > 1 and (word in _BREAKS or after_break):
            begun = made[-1] + word if word in _BREAKS else made[-1]
            made[-1] += word
        else:
            begun = ""
            made.append(word)
    # Of `--flag=value` only the value is completed.
    return made, begun.partition("=")[2] if begun.startswith("--") else begun


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
