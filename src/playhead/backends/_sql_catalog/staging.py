"""Begin to record a draft in the sinks of its dataset."""

from __future__ import annotations

import json

from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model import Config
from playhead.ports.catalog.drafts import Draft
from playhead.ports.catalog.publications import SINK

PAGE = 1_000
"""Results in a page of a sink."""


async def stage(db: Session, draft: Draft) -> None:
    """Give each sink of a draft its pages. Each gets at least one: it fences pages of abandoned drafts.

    A sink that no decided publication had, or that has other settings now, gets the whole content.
    """
    row = await db.row(SQL.draft_row, dataset=draft.dataset, n=draft.n)
    assert row
    version, newest = row[10], Config.from_document(json.loads(row[11]))
    declared = newest.datasets.get(draft.name)
    config = Config.from_document(json.loads(await db.value(SQL.version_document, id=version)))
    routes = [one for one in (declared.sinks if declared else ()) if _follows(config, newest, one)]
    await db.run(SQL.release_sinks, dataset=draft.dataset, routes=routes)
    rows = await db.rows(SQL.sinks_of, dataset=draft.dataset)
    known = {route: of for route, *of in rows}
    decided = await db.value(SQL.decided_of, dataset=draft.dataset)
    for route in routes:
        last = config.routes[route].steps[-1]
        step = json.dumps({"type": last.type, "config": last.config}, sort_keys=True)
        its_step, since, needs_whole = known.get(route, (None, 0, False))
        is_new = its_step != step or since > decided or bool(needs_whole)
        given = {"dataset": draft.dataset, "stage": f"{SINK}{route}"}
        if is_new:
            changes = await db.value(SQL.content_of_sink, n=draft.n, **given)
        else:
            changes = await db.value(SQL.changes_of_sink, number=draft.n, after=0, **given)
        await db.run(
            SQL.stage_sink,
            dataset=draft.dataset,
            route=route,
            version=version,
            step=step,
            since=draft.n if is_new else since,
            n=draft.n,
            after=0 if is_new else decided,
            pages=pages_of(changes),
        )


def pages_of(results: int) -> int:
    return max(1, -(-results // PAGE))


def _follows(config: Config, newest: Config, route: str) -> bool:
    """Whether the adapter of a sink in the newest config is that of the version of a draft."""
    types = [one.steps[-1].type for of in (config, newest) if (one := of.routes.get(route)) and one.steps]
    return len(types) == 2 and types[0] == types[1]
