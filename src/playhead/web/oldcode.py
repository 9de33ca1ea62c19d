"""Old code of workers in the words of the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.model import Warning, Worker
from playhead.reading import codecheck
from playhead.web.render import counted
from playhead.wording import listed

_TITLES: Final = {
    "code_changed": "{} old code of {}",
    "code_other_here": "{} another {} than this server",
    "code_differs": "Workers have loaded different code of adapter {1}",
}


@dataclass(frozen=True, slots=True)
class OldCode:
    """Workers whose code is not that of its source, or not that of other workers.

    Attributes:
        id: identifies it.
        title: what is wrong.
        detail: which processes and adapters, and what to do.
    """

    id: str
    title: str
    detail: str


def old_code(workers: Sequence[Worker]) -> list[OldCode]:
    """Return the workers with old code, in words; see `reading.codecheck.old_code`."""
    return [_shown(one) for one in codecheck.old_code(workers)]


def _shown(w: Warning) -> OldCode:
    is_one = len(w.places) == 1
    runs = f"{counted(len(w.places), 'worker')} {'runs' if is_one else 'run'}"
    what = (
        "Any of them may receive a message"
        if w.code == "code_differs"
        else f"Restart {'it' if is_one else 'them'} to load the new code"
    )
    return OldCode(
        f"{w.code}.{w.subject}",
        _TITLES[w.code].format(runs, w.subject),
        f"{listed(w.places)}; adapters: {', '.join(w.adapters)}. {what}.",
    )
