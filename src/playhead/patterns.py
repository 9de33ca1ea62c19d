"""Regular expressions of conditions, matched in linear time: no pattern and no text can stop a worker.

Python's `re` backtracks: `(\\w+\\s?)*` on 80 characters takes longer than anyone waits, and holds the
interpreter meanwhile. RE2 never does, and bounds the memory of a compiled pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

MAX_CHARACTERS: Final = 200
MAX_IN_CONFIG: Final = 100
"""Different patterns of one config: the most expensive 100 take about 4 s to compile."""
_MAX_BYTES: Final = 1 << 20


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a test of whether a text as a whole matches a pattern, in the syntax of RE2.

    Raises:
        ValueError: the pattern is too long, too large or not in that syntax; the message says why.
    """
    import re2  # takes 20 ms, and few configs have patterns

    if len(pattern) > MAX_CHARACTERS:
        raise ValueError(f"it has {len(pattern)} characters; at most {MAX_CHARACTERS} are allowed")
    options = re2.Options()
    options.max_mem = _MAX_BYTES
    options.log_errors = False
    try:
        compiled = re2.compile(pattern.encode(), options=options)
    except re2.error as exc:
        reason = exc.args[0] if exc.args else ""
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from exc
    # An attribute may hold half a character (JSON allows it).
    return lambda text: compiled.fullmatch(text.encode("utf-8", "surrogatepass")) is not None
