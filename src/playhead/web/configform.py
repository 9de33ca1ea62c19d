"""`/apply`: write a config, see its faults and what it changes, and apply it.

The page is not below `/configs`, because a config may have any name there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from playhead.errors import BadRequest, ConfigInvalid, Conflict, PlayheadError
from playhead.model import ConfigPreview, Diagnostic
from playhead.web.config import Change, change_of
from playhead.web.datasets import Problem
from playhead.web.page import Action, Answer, ApiCall, Ask, Crumb, Page, Redirect, Shown, status_of, url

_MOST_VERSION: Final = 10**9
_MOST_SHOWN: Final = 200
"""Characters of a faulty line that the page repeats."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error or a warning, with the line that it is in.

    Attributes:
        found: the error or the warning.
        text: the line, shortened; empty if the text has no such line.
    """

    found: Diagnostic
    text: str


@dataclass(frozen=True, slots=True)
class ApplyView:
    """The form that applies a config.

    Attributes:
        source: the text.
        verdict: the result of the check, as a sentence; empty: the text was not checked.
        faults: errors and warnings, by line.
        errors: number of errors.
        preview: what would be applied; None: the text was not checked, or has errors.
        change: the difference to the newest version; None: there is no difference, or no version.
        seen: a text that changes with the config and with its newest version.
        button: what the button does; empty: nothing can be applied.
        problem: why it was not applied.
    """

    source: str
    verdict: str = ""
    faults: Sequence[Fault] = ()
    errors: int = 0
    preview: ConfigPreview | None = None
    change: Change | None = None
    seen: str = ""
    button: str = ""
    problem: Problem | None = None


async def show(ask: Ask) -> Shown[ApplyView]:
    """Return the form, with the text of a config if the address names one."""
    name, version = ask.text("config"), ask.number("version", 1, _MOST_VERSION)
    source = (await ask.services.configs.get(name, version)).source if name else ""
    return _page(ApplyView(source), name)


async def apply(ask: Ask) -> Answer:
    """Check the text; with the button that applies it, also apply it, and show the new version."""
    source = str(ask.form.get("source") or "").replace("\r\n", "\n")
    preview = await ask.services.configs.preview(source)
    if not ask.form.get("seen"):
        return await _checked(source, preview)
    try:
        if preview.is_same and preview.newest:  # also a second click on the button
            return Redirect(url(f"/configs/{preview.name}", version=preview.newest.version))
        if preview.name and ask.form["seen"] != _mark(source, preview):
            raise Conflict(
                "preview_outdated",
                "nothing was applied: the text, or the newest version of the config, has changed since the "
                "changes were shown. Look at them again, and apply",
            )
        version, _ = await ask.services.configs.apply(source)
    except (BadRequest, Conflict) as exc:
        return await _checked(source, preview, exc)
    against = preview.newest.version if preview.newest else None
    return Redirect(url(f"/configs/{version.name}", version=version.version, against=against))


async def _checked(
    source: str, preview: ConfigPreview, error: PlayheadError | None = None
) -> Shown[ApplyView]:
    """Return the form with the result of a check."""
    lines = source.split("\n")
    found = error.diagnostics if isinstance(error, ConfigInvalid) else preview.diagnostics
    faults = [
        Fault(one, lines[one.line - 1][:_MOST_SHOWN] if one.line <= len(lines) else "")
        for one in found
        if isinstance(one, Diagnostic)
    ]
    errors = sum(one.found.severity == "error" for one in faults)
    newest, is_ready = preview.newest, not errors and not preview.is_same
    view = ApplyView(
        source,
        _verdict(preview, errors),
        faults,
        errors,
        None if errors else preview,
        await change_of(newest, source) if newest and newest.source != source and not errors else None,
        _mark(source, preview) if is_ready else "",
        f"Apply as version {newest.version + 1 if newest else 1} of {preview.name}" if is_ready else "",
        Problem.of(error) if error and not isinstance(error, ConfigInvalid) else None,
    )
    return _page(view, preview.name, status_of(error))


def _verdict(preview: ConfigPreview, errors: int) -> str:
    if errors:
        return f"The text has {errors:,} error{'s' if errors > 1 else ''}. Nothing can be applied."
    if preview.newest is None:
        return f"The text is valid: {preview.name} is a new config."
    if preview.is_same:
        return (
            f"The text is equivalent to version {preview.newest.version} of {preview.name}, the newest one."
        )
    return f"The text is valid: it changes version {preview.newest.version} of {preview.name}."


def _page(view: ApplyView, name: str | None, status: int = 200) -> Shown[ApplyView]:
    calls = [
        ApiCall("/api/v1/configs/validate", "POST", {"source": view.source}),
        ApiCall("/api/v1/configs", "POST", {"source": view.source}),
    ]
    of = [Crumb(name, url(f"/configs/{name}"))] if name else []
    crumbs = [Crumb("Configs", "/configs"), *of, Crumb("Edit" if name else "New config")]
    return Shown("Apply a config", view, calls if view.source else [], crumbs, status=status)


def _mark(source: str, preview: ConfigPreview) -> str:
    version = preview.newest.version if preview.newest else 0
    return blake2b(repr((source, preview.name, version)).encode(errors="replace"), digest_size=6).hexdigest()


PAGES: Final = (Page("/apply", "apply.html", show, "configs", scope="apply"),)
ACTIONS: Final = (Action("/apply", apply, "apply.html", "configs", scope="apply"),)
