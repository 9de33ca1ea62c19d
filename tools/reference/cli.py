"""Generate `cli.md`: every command, from the command-line program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import typer

from playhead.cli.app import COMMANDS, GROUPS, build
from playhead.cli.command import Command
from tools.reference import Parts, code, table
from tools.reference.errors import exit_codes


def commands() -> Iterator[tuple[str, Command, Any]]:
    """Yield each command in the order of the help: its name, its declaration, and its click command."""
    program: Any = typer.main.get_command(build())
    for entry in COMMANDS:
        yield entry.name, entry.load(), program.commands[entry.name]
    for name, _, entries in GROUPS:
        for entry in entries:
            yield f"{name} {entry.name}", entry.load(), program.commands[name].commands[entry.name]


def _context(program: Any, words: str) -> Any:
    return program.context_class(program, info_name=f"playhead {words}".strip())


def _parameters(program: Any, words: str, leave_out: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """Return arguments and flags with the texts of the help, including defaults and bounds."""
    ctx = _context(program, words)
    records = [
        (parameter, parameter.get_help_record(ctx))
        for parameter in program.get_params(ctx)
        if not getattr(parameter, "hidden", False)
    ]
    return [
        (code(record[0].strip()), record[1])
        for parameter, record in records
        if record and parameter.name not in leave_out
    ]


def _everywhere() -> str:
    program: Any = typer.main.get_command(build())
    return table(("flag", "meaning"), _parameters(program, ""))


def _commands() -> str:
    return "\n\n".join(_section(words, entry, known) for words, entry, known in commands())


def _section(words: str, entry: Command, known: Any) -> str:
    usage = known.get_usage(_context(known, words)).removeprefix("Usage: ")
    after_all = frozenset({"help", *(p.name for p in known.params if p.name.startswith("after_"))})
    own = _parameters(known, words, after_all)
    pieces = [
        f"### playhead {words}",
        (known.help or "").strip(),
        f"{code(' '.join(usage.split()))}",
        table(("argument or flag", "meaning"), own) if own else "",
        f"Not available with `--server`: {entry.only_here}." if entry.only_here else "",
        f"```sh\n{entry.example}\n```",
    ]
    return "\n\n".join(piece for piece in pieces if piece)


PARTS: Final[Parts] = {"everywhere": _everywhere, "commands": _commands, "exits": exit_codes}
