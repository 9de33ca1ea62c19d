"""The schemas of both databases, and the numbers that stand for states in their columns.

`sqlite/` and `postgres/` hold numbered scripts. SQL here and in `_sql_catalog` names a state in braces
(`{PENDING}`), which is replaced by its number when the text is read.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

from playhead.model import ROW_STATES

# messages.state
PENDING: Final = ROW_STATES.index("pending")
RUNNING: Final = ROW_STATES.index("running")
RETRY: Final = ROW_STATES.index("retry")
COMPLETED: Final = ROW_STATES.index("completed")
SKIPPED: Final = ROW_STATES.index("skipped")
DEAD: Final = ROW_STATES.index("dead")
CANCELLED: Final = ROW_STATES.index("cancelled")

# messages.published; NULL: the watermark of the job decides
PUBLISHED: Final = 1
UNPUBLISHED: Final = 0
UNCERTAIN: Final = -1

# outputs.state
WRITING: Final = 0
STORED: Final = 1
SUPERSEDED: Final = 2

CONSTANTS: Final = {
    "PENDING": PENDING,
    "RUNNING": RUNNING,
    "RETRY": RETRY,
    "COMPLETED": COMPLETED,
    "SKIPPED": SKIPPED,
    "DEAD": DEAD,
    "CANCELLED": CANCELLED,
    "OPEN": f"{PENDING}, {RUNNING}, {RETRY}",
    "WAITING": f"{PENDING}, {RETRY}",
    "PUBLISHED": PUBLISHED,
    "UNPUBLISHED": UNPUBLISHED,
    "UNCERTAIN": UNCERTAIN,
    "WRITING": WRITING,
    "STORED": STORED,
    "SUPERSEDED": SUPERSEDED,
}

_CONSTANT: Final = re.compile(r"\{([A-Z]+)\}")


def with_constants(text: str) -> str:
    """Return SQL with each state's name in braces replaced by its number."""
    return _CONSTANT.sub(lambda found: str(CONSTANTS[found[1]]), text)


def scripts(dialect: str) -> list[tuple[int, str]]:
    """Return the schema scripts of `sqlite` or `postgres` as (number, SQL), in order."""
    folder = resources.files(__name__) / dialect
    found = [f for f in folder.iterdir() if re.match(r"\d{4}_\w+\.sql", f.name)]
    return sorted((int(f.name[:4]), with_constants(f.read_text("utf-8"))) for f in found)
