"""`/prune`: count what would be deleted, and delete exactly that."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from typing import Any, Final

from playhead import times
from playhead.errors import BadRequest, Conflict, NotFound, PlayheadError
from playhead.limits import InvalidValue
from playhead.model import KEPT, Pruned, PruneFilter
from playhead.services import Services
from playhead.web.datasets import Problem
from playhead.web.page import Action, Answer, ApiCall, Ask, Crumb, Page, Redirect, Shown, status_of, url
from playhead.web.render import counted

_MOST_TEXT: Final = 10_000
_MOST_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class PruneForm:
    """The fields of the form, as they were typed. An empty text: not given.

    Attributes:
        execution: executions, with blanks between them.
        config: name of a config.
        tag: tag of the runs.
        older_than: age, such as `30d`.
        keep_last: number of newest executions of each config that are kept.
        stages: stages, one on each line.
        records: `1`: delete records instead of objects.
    """

    execution: str = ""
    config: str = ""
    tag: str = ""
    older_than: str = ""
    keep_last: str = ""
    stages: str = ""
    records: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> PruneForm:
        texts = {one.name: str(given.get(one.name) or "").strip() for one in fields(cls)}
        if any(len(text) > _MOST_TEXT for text in texts.values()):
            raise BadRequest("invalid_body", f"a field has more than {_MOST_TEXT:,} characters")
        return cls(**texts)

    async def where(self, services: Services) -> PruneFilter:
        """Return the filter that the form means. Raises `BadRequest` and `NotFound`."""
        names = self.execution.replace(",", " ").split()
        try:
            return PruneFilter(
                [await services.resolve.execution(one) for one in names] or None,
                self.config or None,
                self.tag or None,
                self._seconds(),
                self._keep_last(),
                [one.strip() for one in self.stages.splitlines() if one.strip()] or None,
                self.records == "1",
            )
        except InvalidValue as exc:
            raise BadRequest("invalid_body", f"{exc}") from None

    def _seconds(self) -> float | None:
        try:
            return times.duration(self.older_than) if self.older_than else None
        except ValueError as exc:
            raise BadRequest("invalid_body", f"older_than {self.older_than!r} {exc}") from None

    def _keep_last(self) -> int:
        text = self.keep_last or "0"
        if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            raise BadRequest("invalid_body", f"keep_last is {text!r}; use a number")
        return int(text)


@dataclass(frozen=True, slots=True)
class KeptRow:
    """An execution that the filter selects, and that is kept."""

    execution_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PruneView:
    """The form that prunes.

    Attributes:
        form: the fields.
        found: what would be deleted; None: it was not counted.
        kept: the first executions that are kept, and why.
        counted: a text that changes with what would be deleted.
        button: what the button does; empty: there is nothing to delete, or too much for one time.
        command: the command that counts the same; empty: the form is not complete.
        problem: why nothing was counted or deleted.
    """

    form: PruneForm
    found: Pruned | None = None
    kept: Sequence[KeptRow] = ()
    counted: str = ""
    button: str = ""
    command: str = ""
    problem: Problem | None = None


async def show(ask: Ask) -> Shown[PruneView]:
    """Return the form, with what it would delete if that was asked for."""
    form = PruneForm.of(ask.query)
    if ask.text("count") is None or ask.is_foreign:  # a link of another site starts no work
        return _page(PruneView(form))
    return await _counted(ask.services, form)


async def prune(ask: Ask) -> Answer:
    """Delete what the form has counted, and show these executions."""
    form, prune = PruneForm.of(ask.form), ask.services.prune
    try:
        where = await form.where(ask.services)
        found = await prune.plan(where)
        if str(ask.form.get("counted") or "") != _mark(where, found):
            raise Conflict(
                "preview_outdated",
                "nothing was deleted: other executions or objects match now than those that were counted. "
                "Look at the new numbers, and delete",
            )
        if found.executions:
            # More executions may meet the conditions by now.
            await prune.begin(PruneFilter(found.execution_ids, stages=where.stages, records=where.records))
    except (BadRequest, Conflict, NotFound) as exc:
        return await _counted(ask.services, form, exc)
    return Redirect(url("/executions", config=form.config, tag=form.tag))


async def _counted(
    services: Services, form: PruneForm, error: PlayheadError | None = None
) -> Shown[PruneView]:
    """Return the form with what it would delete now."""
    view = PruneView(form)
    where: PruneFilter | None = None
    try:
        where = await form.where(services)
        found = await services.prune.plan(where)
        view = replace(
            view,
            found=found,
            kept=[KeptRow(str(one.execution_id), KEPT[one.reason]) for one in found.kept],
            counted=_mark(where, found),
            button=_button(found),
        )
    except (BadRequest, NotFound) as exc:
        error = error or exc
    return _page(replace(view, problem=Problem.of(error) if error else None), where, status_of(error))


def _button(found: Pruned) -> str:
    if not found.executions or found.executions > len(found.execution_ids):
        return ""
    what = counted(found.records, "record") if found.records else counted(found.objects, "object")
    return f"Delete {what} of {counted(found.executions, 'execution')}"


def _mark(where: PruneFilter, found: Pruned) -> str:
    parts = (where.stages, where.records, found.execution_ids, found.objects, found.bytes, found.records)
    return blake2b(repr(parts).encode(errors="replace"), digest_size=6).hexdigest()


def _page(view: PruneView, where: PruneFilter | None = None, status: int = 200) -> Shown[PruneView]:
    calls = [ApiCall("/api/v1/prune", "POST", _body(where))] if where else []
    view = replace(view, command=_command(view.form) if where else "")
    return Shown("Prune", view, calls, [Crumb("Executions", "/executions"), Crumb("Prune")], status=status)


def _body(where: PruneFilter) -> Mapping[str, Any]:
    given: dict[str, Any] = {
        "execution_ids": [str(one) for one in where.execution_ids or ()],
        "config": where.config,
        "tag": where.tag,
        "older_than_seconds": where.older_than_seconds,
        "keep_last": where.keep_last or None,
        "stages": where.stages,
        "records": where.records or None,
    }
    return {name: one for name, one in given.items() if one is not None and one != []} | {"dry_run": True}


def _command(form: PruneForm) -> str:
    words = ["playhead", "prune", *form.execution.replace(",", " ").split()]
    options = (
        ("--older-than", form.older_than),
        ("--config", form.config),
        ("--tag", form.tag),
        ("--keep-last", form.keep_last),
        *(("--stage", one.strip()) for one in form.stages.splitlines()),
    )
    words += [word for option in options if option[1] for word in option]
    return shlex.join([*words, *(["--records"] if form.records == "1" else []), "--dry-run"])


PAGES: Final = (Page("/prune", "prune.html", show, "executions", scope="prune"),)
ACTIONS: Final = (Action("/prune", prune, "prune.html", "executions", scope="prune"),)
