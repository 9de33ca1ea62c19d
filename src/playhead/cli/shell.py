"""Answer a shell that asks how a line may continue (Tab). The scripts and the protocol are typer's.

The names offered come from the catalog, and any client that may post a run chooses some of them. Bash reads
an answer as words, zsh evaluates it, and all shells put it into a line that a user then runs. So each answer
is quoted for its shell.
"""

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
_PLAIN: Final = re.compile(r"[\w./:=-]+")


def asks() -> bool:
    """Whether a shell has called this program to complete a line."""
    return bool(os.environ.get(_ASKED))  # noqa: TID251 - a shell sets it, and it is not a setting


def answer(program: Callable[[Sequence[str]], object]) -> None:
    """Write how the line may continue.

    Args:
        program: answers by the variables that typer's script for the shell has set, and exits; it gets
            the words of the line.
    """
    variables = os.environ  # noqa: TID251
    # Typer uses rich, if installed, to remove markup from descriptions. Loading rich takes longer than all
    # the rest, and descriptions have no markup.
    sys.modules["rich"] = None  # type: ignore[assignment]
    words: Sequence[str] = variables.get("_TYPER_COMPLETE_ARGS", "").split()
    instruction, _, shell = variables[_ASKED].partition("_")
    if instruction != "complete":
        program(words)
        return
    begun = ""
    if shell == "bash":
        line = variables.get("COMP_WORDS", "")
        separator = "\n" if "\n" in line else " "
        words, begun = joined(line.split(separator)[: _number(variables.get("COMP_CWORD", "")) + 1])
        variables["COMP_WORDS"], variables["COMP_CWORD"] = separator.join(words), str(len(words) - 1)
    elif shell == "zsh":
        # Fish gets values and descriptions as they are, one offer a line.
        variables[_ASKED], variables["_TYPER_COMPLETE_FISH_ACTION"] = "complete_fish", "get-args"
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            program(words)
    finally:
        for line in _quoted(shell, begun, [line for line in out.getvalue().split("\n") if line]):
            sys.stdout.write(line + "\n")


def _quoted(shell: str, begun: str, offers: Sequence[str]) -> Sequence[str]:
    """Quote offers for a shell."""
    if shell == "bash":
        # Bash puts a value in place of the text after the last break, without quoting it.
        return [re.sub(_SPECIAL, r"\\\1", value.removeprefix(begun)) for value in offers]
    if shell == "zsh":
        return [_for_zsh(offers)]
    if shell == "fish":
        return offers  # fish quotes what it inserts
    return [offer for offer in offers if _PLAIN.fullmatch(offer.partition(":::")[0])]


def _for_zsh(offers: Sequence[str]) -> str:
    """Return the command that adds the offers; `compadd` quotes the values that it inserts.

    Typer's script evaluates the answer. So each byte of an offer is written as `\\xNN`, except for letters,
    digits, `_`, `.`, `/` and `-`: nothing is left that zsh could expand, split or run.
    """
    if not offers:
        return "_files"
    values, shown = [], []
    for offer in offers:
        value, tab, description = offer.partition("\t")
        values.append(_escaped(value))
        shown.append(_escaped(f"{value}  -- {description}" if tab else value))
    return (
        f"local -a offers shown; offers=({' '.join(values)}); shown=({' '.join(shown)}); "
        "compadd -l -d shown -V playhead -a offers"
    )


def _escaped(text: str) -> str:
    escaped = re.sub(r"[^A-Za-z0-9_./-]", lambda m: "".join(f"\\x{b:02x}" for b in m[0].encode()), text)
    return f"$'{escaped}'"


def joined(words: Sequence[str]) -> tuple[list[str], str]:
    """Join the words that bash splits at `:` and `=`.

    Returns:
        the words, and the part of the last one that bash keeps when it inserts a value.
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
