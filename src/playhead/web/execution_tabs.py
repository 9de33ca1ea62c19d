"""The tabs of an execution: objects, messages, family and config."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from playhead.errors import BadRequest, NotFound
from playhead.model import ROW_STATES, ConfigVersion, Execution, Lineage, Replay, StageTotal, StoredObject
from playhead.web.outcomes import Outcome, outcome_of, outcomes
from playhead.web.page import ROWS, Ask, url
from playhead.web.pipelines import Option
from playhead.web.timeline import timeline

_MOST_PARENTS: Final = 20
_MOST_QUERIES: Final = 25
"""Lists of replays that a tree reads."""
_BRANCHES: Final = 20
"""Replays of one execution that a tree shows."""


@dataclass(frozen=True, slots=True)
class Tab:
    """A link to a part of the page.

    Attributes:
        text: its name.
        href: its address.
        is_current: whether it is shown.
        count: number of what it lists; None: not known.
        live: name of the live number; None: it does not change.
    """

    text: str
    href: str
    is_current: bool
    count: int | None = None
    live: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectsTab:
    """Stored objects: a page of them.

    Attributes:
        stage: stage that is listed; None: all.
        path: folder or object within the stage; None: all.
        stages: links to the stages.
        sizes: sizes of all stages; empty if they were not counted.
        objects: the page, in byte order of the keys.
        count_href: address that counts the stages, where that lists the store; None: it does not.
        next_href: next page; None: this is the last one.
        first_href: first page; None: this is it.
        replay_href: page that plans a replay of what is listed; None: choose a stage first.
    """

    stage: str | None
    path: str | None
    stages: Sequence[Option]
    sizes: Sequence[StageTotal]
    objects: Sequence[StoredObject]
    count_href: str | None
    next_href: str | None
    first_href: str | None
    replay_href: str | None


@dataclass(frozen=True, slots=True)
class MessagesTab:
    """Messages: a page of them, newest first.

    Attributes:
        route: only those of this route; None: all.
        status: only those in this state; None: all.
        made_by: only those whose result such code or such a worker has made; None: all.
        routes: routes of the pipeline.
        states: states that a message can have.
        messages: the page.
        next_href: next page; None: this is the last one.
        first_href: first page; None: this is it.
    """

    route: str | None
    status: str | None
    made_by: str | None
    routes: Sequence[str]
    states: Sequence[str]
    messages: Sequence[Lineage]
    next_href: str | None
    first_href: str | None


@dataclass(frozen=True, slots=True)
class Branch:
    """An execution in a tree of replays.

    Attributes:
        execution_id: the execution.
        text: what it is.
        batch: the replay that made it; None: it is not a replay, or not known.
        outcome: the state of that replay.
        is_here: whether the page shows it.
        branches: replays of it, newest first.
        has_more: whether some of its replays are not listed.
    """

    execution_id: UUID
    text: str
    batch: Replay | None
    outcome: Outcome | None
    is_here: bool
    branches: Sequence[Branch] = ()
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class FamilyTab:
    """Executions that are connected by replays.

    Attributes:
        root: the first one, which is not a replay, or whose source is not known.
        replays: number of replays in the tree.
    """

    root: Branch
    replays: int


async def objects(ask: Ask, of: Execution) -> ObjectsTab:
    stage, path, cursor = ask.text("stage"), ask.text("path"), ask.text("cursor")
    here = f"/executions/{of.execution_id}"
    is_adopted = of.kind == "adopted"
    sizes: list[StageTotal] = []
    if not is_adopted or ask.text("count"):
        sizes = (await ask.services.executions.stage_totals(of.execution_id)).stages
    page = await ask.services.objects.list(of.execution_id, stage, path if stage else None, cursor, ROWS)
    names = [one.stage for one in sizes if one.objects] or sorted({one.stage for one in page.items})
    count = ask.text("count")

    def link(**changes: str | None) -> str:
        return url(here, **{"tab": "objects", "stage": stage, "path": path, "count": count, **changes})

    options = [Option("all stages", link(stage=None, path=None), stage is None)]
    options += [Option(name, link(stage=name, path=None), name == stage) for name in names]
    if stage and stage not in names:
        options.append(Option(stage, link(path=None), True))
    replay = url("/replay", from_execution_id=of.execution_id, from_stage=stage, from_path=path)
    return ObjectsTab(
        stage=stage,
        path=path,
        stages=options,
        sizes=sizes,
        objects=page.items,
        count_href=link(count="yes") if is_adopted and not count else None,
        next_href=link(cursor=page.next_cursor) if page.next_cursor else None,
        first_href=link() if cursor else None,
        replay_href=replay if stage and page.items else None,
    )


async def messages(ask: Ask, of: Execution) -> MessagesTab:
    route, cursor = ask.text("route"), ask.text("cursor")
    status, made_by = ask.choice("status", ROW_STATES), ask.text("made_by")
    try:
        page = await ask.services.lineage.list(
            execution=of.execution_id, route=route, status=status, made_by=made_by, cursor=cursor, limit=ROWS
        )
    except ValueError as exc:
        raise BadRequest("invalid_body", f"made_by {exc}") from None
    pipeline = await ask.services.pipelines.of_found(of)

    def link(cursor: str | None) -> str:
        here = f"/executions/{of.execution_id}"
        return url(here, tab="messages", route=route, status=status, made_by=made_by, cursor=cursor)

    return MessagesTab(
        route=route,
        status=status,
        made_by=made_by,
        routes=[one.route for one in pipeline.routes],
        states=ROW_STATES,
        messages=page.items,
        next_href=link(page.next_cursor) if page.next_cursor else None,
        first_href=link(None) if cursor else None,
    )


async def family(ask: Ask, of: Execution) -> FamilyTab:
    """Return the tree of replays. It begins at the first source, and reads a limited number of lists."""
    executions = ask.services.executions
    line = [of]  # from this execution to the first source
    while (parent := line[-1].parent_execution_id) and len(line) < _MOST_PARENTS:
        try:
            line.append(await executions.get(parent))
        except NotFound:  # an adopted source whose objects were deleted
            break
    queries = 0
    found = 0

    async def branch(identity: UUID, text: str, batch: Replay | None, outcome: Outcome | None) -> Branch:
        nonlocal queries, found
        is_here = identity == of.execution_id
        if queries >= _MOST_QUERIES:
            return Branch(identity, text, batch, outcome, is_here, has_more=True)
        queries += 1
        page = await executions.replays(identity, None, _BRANCHES)
        found += len(page.items)
        became = await outcomes(ask.services, page.items)
        below = [
            await branch(one.execution_id, one.to_config, one, became[one.replay_batch_id])
            for one in page.items
        ]
        return Branch(identity, text, batch, outcome, is_here, below, page.next_cursor is not None)

    first = line[-1]
    batch = await executions.replay(first.replay_batch_id) if first.replay_batch_id else None
    outcome = outcome_of(batch, first) if batch else None
    root = await branch(first.execution_id, first.config or "adopted", batch, outcome)
    return FamilyTab(root, found)


async def config(ask: Ask, of: Execution) -> ConfigVersion:
    return await ask.services.configs.get(str(of.config), of.config_version)


READ: Final[Mapping[str, Callable[[Ask, Execution], Awaitable[Any]]]] = {
    "objects": objects,
    "messages": messages,
    "timeline": timeline,
    "family": family,
    "config": config,
}
