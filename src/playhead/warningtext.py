"""Warnings, and what a fingerprint covers, in words, for commands, responses and pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playhead.model import Plan, Warning
    from playhead.sourcecode import WholeFiles

_MOST_NAMED: Final = 5
_FINGERPRINT: Final = 19
"""Characters of a fingerprint that are shown: `sha256:` and 12 digits."""


def warning_text(w: Warning) -> str:
    """Return a warning in words, without a full stop."""
    return w.text or _WARNINGS[w.code](w)


def worded(plan: Plan) -> Plan:
    """Return a plan with its warnings in words."""
    return replace(plan, warnings=[replace(one, text=warning_text(one)) for one in plan.warnings])


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def why_whole(kind: str, whole: WholeFiles) -> str:
    """Return why the fingerprint of an adapter covers whole files, in words."""
    place = f"{whole.file}, line {whole.line}," if whole.line else whole.file
    match whole.why:
        case "reflection":
            return f"{place} uses {whole.name}"
        case "computed_import":
            return f"{place} imports a module whose name is computed"
        case "star_import":
            return f"{place} imports * from {whole.name}"
        case "module_getattr":
            return f"{place} defines __getattr__"
        case "not_found":
            return f'no @adapter("{kind}") at module level declares it'
        case "not_python":
            return f"{place} is not valid Python source, or it is nested too deeply"


def _code_changed(w: Warning) -> str:
    they_are = "it is" if len(w.places) == 1 else "they are"
    return (
        f"{w.subject} has changed since it was loaded by {listed(w.places)} (adapters: "
        f"{', '.join(w.adapters)}). The old code runs until {they_are} restarted; with --reload, workers "
        "restart themselves"
    )


def _code_differs(w: Warning) -> str:
    shown = "; ".join(f"{code[:_FINGERPRINT]} in {listed(at)}" for code, at in w.codes.items())
    return f"workers have loaded different code of adapter {w.subject}: {shown}"


def _version_unchanged(w: Warning) -> str:
    if w.detail:
        return (
            f"the code of adapter {w.adapters[0]} has changed, but its version is still "
            f"{json.dumps(w.detail)}: raise the version in @adapter if its outputs change"
        )
    return (
        f"the code of adapters {listed(w.adapters)} has changed, but their versions have not: raise the "
        "version in @adapter of those whose outputs change"
    )


def _bytes_differ(w: Warning) -> str:
    what = "objects whose bytes are missing, or are not those of their records"
    return f"{what}: {w.count:,}; the first is {w.detail}"


def _partial_into_sink(w: Warning) -> str:
    return (
        f"only a part of the objects is replayed into {listed(w.places)}: rows of the other objects stay as "
        "they are, and with `replace: folder` the other rows of the same folder are removed"
    )


def _older_into_sink(w: Warning) -> str:
    return (
        f"the objects come from run {w.subject}, and run {w.detail} is newer: their rows replace newer ones "
        f"of the same documents in {listed(w.places)}"
    )


_WARNINGS: Final[dict[str, Callable[[Warning], str]]] = {
    "code_changed": _code_changed,
    "code_other_here": lambda w: (
        f"this machine has another {w.subject} than {listed(w.places)} (adapters: {', '.join(w.adapters)})"
    ),
    "code_differs": _code_differs,
    "version_unchanged": _version_unchanged,
    "other_playhead": lambda w: (
        f"{w.subject} runs Playhead {next(iter(w.codes))}, the other workers {w.detail}"
    ),
    "no_consumer": lambda w: f"no live worker consumes {w.subject}; its messages wait until one starts",
    "invalid_keys": lambda w: f"the keys of {w.count:,} objects are invalid: they become dead letters",
    "no_sidecars": lambda w: f"{w.count:,} objects have no sidecar",
    "bytes_differ": _bytes_differ,
    "partial_into_sink": _partial_into_sink,
    "older_into_sink": _older_into_sink,
    "not_taken_over": lambda w: f"route {w.subject} processes {w.detail}",
    "server": lambda w: w.text,
}
