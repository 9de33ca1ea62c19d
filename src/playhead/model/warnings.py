"""Warnings before a replay or a run. A warning is a code with fields; `playhead.wording` has the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

CodeWarning = Literal["code_changed", "code_other_here", "code_differs"]
CODE_WARNINGS: Final[tuple[CodeWarning, ...]] = get_args(CodeWarning)
"""Workers have outdated or different code. `require_code` refuses these."""
SinkWarning = Literal["partial_into_sink", "older_into_sink"]
WarningCode = Literal[
    CodeWarning,
    "version_unchanged",
    "other_playhead",
    "no_consumer",
    "invalid_keys",
    "no_sidecars",
    "bytes_differ",
    SinkWarning,
    "not_taken_over",
    "server",
]


@dataclass(frozen=True, slots=True)
class Warning:
    """A fact that somebody should know before objects are replayed, or inputs are run.

    Attributes:
        code: `code_changed`: adapters of a source have changed since processes loaded it. `code_other_here`:
            adapters of the source of that name are others on this machine. `code_differs`: processes have
            loaded different code of an adapter. `version_unchanged`: the code of adapters has changed, but
            not their versions.
            `other_playhead`: a process runs another version of Playhead than most others. `no_consumer`: no
            live worker consumes a queue. `invalid_keys`, `no_sidecars`, `bytes_differ`: about objects of a
            plan. `partial_into_sink`: only a part of the objects reaches a sink. `older_into_sink`: objects
            of a run that is not the newest one reach a sink. `not_taken_over`: a route processes items
            although nothing before it has changed. `server`: from a server, in its words.
        subject: what it is about: a source, an adapter, a process, a queue, a route, or an execution.
        adapters: the adapters that it concerns.
        places: the processes that it concerns, or the sinks that are reached, such as
            `index (sqlite_search)`.
        codes: the processes by fingerprint; for `other_playhead`, by version.
        count: the number of objects; None if it counts none.
        detail: a version, the first key, an execution, or a reason; see `playhead.wording`.
        text: the warning in words; empty until it is written for readers.
    """

    code: WarningCode
    subject: str = ""
    adapters: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    codes: Mapping[str, list[str]] = field(default_factory=dict)
    count: int | None = None
    detail: str = ""
    text: str = ""
