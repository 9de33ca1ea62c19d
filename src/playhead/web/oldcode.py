"""Old code of workers in the words of the pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from playhead.model import Warning, Worker
from playhead.reading import codecheck
from playhead.web.affected import affected_url
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
        made: by adapter, URL of what the old code has made.
    """

    id: str
    title: str
    detail: str
    made: Mapping[str, str]


def old_code(workers: Sequence[Worker]) -> list[OldCode]:
    """Return the workers with old code, in words; see `reading.codecheck.old_code`."""
    return [_shown(one, workers) for one in codecheck.old_code(workers)]


def _shown(w: Warning, workers: Sequence[Worker]) -> OldCode:
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
        _made(w, workers),
    )


def _made(w: Warning, workers: Sequence[Worker]) -> dict[str, str]:
    """Return URLs of what the code that is not current has made; none if the current one is not known."""
    old = {
        one.type: one.code
        for worker in workers
        for one in worker.adapters
        if one.type in w.adapters and {"changed", "other_here"}.intersection(one.notes)
    }
    return {
        kind: affected_url(adapter=f"{kind}@{code}")
        for kind, code in sorted(old.items())
        if code.startswith("sha256:")
    }
