"""`/datasets/{name}/rollback`: a form that says first what would change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from playhead.errors import BadRequest, Conflict, NotFound, PlayheadError
from playhead.model import Dataset, Publication
from playhead.web.datasets import (
    Problem,
    api_of,
    crumbs_of,
    dataset_of,
    full_name,
    number_of,
    seq_of,
    stages_text,
)
from playhead.web.links import link
from playhead.web.page import Action, Answer, ApiCall, Ask, Page, Redirect, Shown, status_of

_MOST_COUNTED: Final = 1_000
"""Objects up to which the form counts."""


@dataclass(frozen=True, slots=True)
class RollbackView:
    """The form that goes back to an earlier publication.

    Attributes:
        dataset: what readers see now.
        to: number of the publication.
        publication: the publication; None if there is no such one.
        changes: how many objects would change, up to 1,000; None: this is not known.
        stages: the same by stage, in words; empty if not all were counted.
        is_more: there are more changes.
        reason: as it was typed.
        problem: why it is refused.
    """

    dataset: Dataset
    to: str
    publication: Publication | None
    changes: int | None
    stages: str
    is_more: bool
    reason: str
    problem: Problem | None

    @property
    def button(self) -> str:
        return f"Roll back to {self.to}"


async def show_rollback(ask: Ask) -> Answer:
    return await _rollback_page(ask, await dataset_of(ask), ask.needed("to"), "")


async def _rollback_page(
    ask: Ask, dataset: Dataset, to: str, reason: str, error: PlayheadError | None = None
) -> Shown[RollbackView]:
    name, service = full_name(dataset), ask.services.publish
    publication: Publication | None = None
    changes: int | None = None
    stages, is_more = "", False
    try:
        publication = await service.publication(name, number_of(dataset, to))
        if dataset.current is not None and not ask.is_foreign:
            page = await service.changes(name, dataset.current, publication.n, limit=_MOST_COUNTED)
            changes, is_more = len(page.items), page.next_cursor is not None
            if not is_more:
                stages = stages_text(Counter(one.stage for one in page.items))
    except (BadRequest, Conflict, NotFound) as exc:
        error = error or exc
    view = RollbackView(
        dataset, to, publication, changes, stages, is_more, reason, Problem.of(error) if error else None
    )
    calls = [ApiCall(api_of(dataset))]
    if publication:
        calls.append(ApiCall(api_of(dataset, f"/publications/{publication.n}")))
    title = f"Roll back {dataset.name}"
    return Shown(title, view, calls, crumbs_of(dataset, "Roll back"), status=status_of(error))


async def roll_back(ask: Ask) -> Answer:
    """Go back, and show the dataset, or the form with the refusal."""
    dataset = await dataset_of(ask)
    fields = {name: str(ask.form.get(name) or "").strip() for name in ("to", "reason", "expect_seq")}
    try:
        to, expected = number_of(dataset, fields["to"]), seq_of(fields["expect_seq"])
        if expected is None or len(fields["reason"]) > 1_000 or "\0" in fields["reason"]:
            raise BadRequest(
                "invalid_body", "the form needs expect_seq, and at most 1,000 characters of reason"
            )
        await ask.services.publish.roll_back(full_name(dataset), to, expected, fields["reason"] or None)
    except (BadRequest, Conflict, NotFound) as exc:
        return await _rollback_page(ask, await dataset_of(ask), fields["to"], fields["reason"], exc)
    return Redirect(link("dataset", full_name(dataset)))


PAGES: Final = (
    Page("/datasets/{name}/rollback", "rollback.html", show_rollback, "datasets", scope="operate"),
)
ACTIONS: Final = (
    Action("/datasets/{name}/rollback", roll_back, "rollback.html", "datasets", scope="operate"),
)
