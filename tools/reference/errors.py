"""Generate `errors.md`: every error code and exit code."""

from __future__ import annotations

from typing import Final

from playhead.api.errors import ERRORS
from playhead.cli import exits
from playhead.errors import EXECUTION_CODES, MESSAGE_CODES
from tools.reference import Parts, code, table


def _http() -> str:
    rows = [(code(e.code), e.status, exits.exit_code_of(e.code, e.status), e.meaning) for e in ERRORS]
    return table(("error code", "HTTP", "exit code", "meaning"), rows)


def _cli() -> str:
    rows = [(code(name), leave, meaning) for name, (leave, meaning) in exits.OWN_CODES.items()]
    return table(("error code", "exit code", "meaning"), rows)


def _codes(codes: dict[str, str]) -> str:
    return table(("error code", "meaning"), [(code(name), meaning) for name, meaning in codes.items()])


def exit_codes() -> str:
    return table(("exit code", "meaning"), exits.MEANINGS.items())


PARTS: Final[Parts] = {
    "http": _http,
    "cli": _cli,
    "exits": exit_codes,
    "messages": lambda: _codes(MESSAGE_CODES),
    "executions": lambda: _codes(EXECUTION_CODES),
}
