"""`/datasets/{name}/{n}`: what a publication contains, and what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from playhead.errors import Conflict, NotFound, PlayheadError
from playhead.model import OPEN_PUBLICATION_STATES, Dataset, Execution, Publication, PublicationNote
from playhead.web.datasets import (
    Problem,
    StageRow,
    api_of,
    crumbs_of,
    dataset_of,
    full_name,
    number_of,
    place_of,
    stage_rows,
)
from playhead.web.page import ROWS, Action, Answer, ApiCall, Ask, Page, Redirect, Shown, status_of, url


@dataclass(frozen=True, slots=True)
class PublicationView:
    """A publication.

    Attributes:
        dataset: what readers see now.
        publication: the publication.
        stages: its counts.
        base: id of the publication on which it is based, if both can be compared.
        current: id of the publication that readers see, if it is another one that can be compared with it.
        parts: executions from which it takes results.
        notes: documents and objects whose new results it does not have: a page of them.
        next_url: more of them; None at the end.
        first_url: the first of them; None if they are shown.
        problem: why something that a person asked for was refused.
    """

    dataset: Dataset
    publication: Publication
    stages: Sequence[StageRow]
    base: UUID | None
    current: UUID | None
    parts: Sequence[Execution]
    notes: Sequence[PublicationNote]
    next_url: str | None
    first_url: str | None
    problem: Problem | None = None


async def show(ask: Ask) -> Shown[PublicationView]:
    return await _shown(ask)


async def _shown(ask: Ask, error: PlayheadError | None = None) -> Shown[PublicationView]:
    dataset = await dataset_of(ask)
    name, services = full_name(dataset), ask.services
    n = number_of(dataset, ask.parameters["n"])
    found = await services.publish.publication(name, n)
    cursor = ask.text("cursor")
    page = await services.publish.notes(name, n, cursor=cursor, limit=ROWS)
    base, current = None, None
    if found.base and found.state == "published":
        earlier = await services.publish.publication(name, found.base)
        base = earlier.execution_id if earlier.state == "published" else None
    if dataset.current not in (None, n) and found.state == "published":
        current = (await services.publish.publication(name)).execution_id
    here = {"config": dataset.config}
    path = place_of(found, str(n))
    view = PublicationView(
        dataset,
        found,
        stage_rows(found.counts),
        base,
        current,
        [await services.executions.get(part.execution_id) for part in found.parts],
        page.items,
        url(path, **here, cursor=page.next_cursor) if page.next_cursor else None,
        url(path, **here) if cursor else None,
        Problem.of(error) if error else None,
    )
    calls = [
        ApiCall(api_of(dataset, f"/publications/{n}")),
        ApiCall(api_of(dataset, "/notes", at=n, limit=ROWS, cursor=cursor)),
    ]
    return Shown(
        f"Publication {n} of {dataset.name}",
        view,
        calls,
        crumbs_of(dataset, str(n)),
        shape=f"{found.state} {found.is_taken_back} {dataset.current == n}",
        ended=found.state not in OPEN_PUBLICATION_STATES,
        status=status_of(error),
    )


def _pin(name: str, pinned: bool) -> Action:
    async def perform(ask: Ask) -> Answer:
        dataset = await dataset_of(ask)
        n = number_of(dataset, ask.parameters["n"])
        try:
            await ask.services.publish.pin(full_name(dataset), n, pinned)
        except (Conflict, NotFound) as exc:
            return await _shown(ask, exc)
        return Redirect(url(place_of(dataset, str(n)), config=dataset.config))

    return Action(
        f"/datasets/{{name}}/{{n}}/{name}",
        perform,
        "publication.html",
        "datasets",
        scope="operate" if pinned else "prune",
    )


ACTIONS: Final = (_pin("pin", True), _pin("unpin", False))
PAGES: Final = (Page("/datasets/{name}/{n}", "publication.html", show, "datasets", live=True, scope="read"),)
