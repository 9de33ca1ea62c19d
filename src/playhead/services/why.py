"""Explain what happened to one item: its trace through the routes, and where and why it ended."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID

from playhead import keys
from playhead.errors import BadRequest, NotFound
from playhead.ids import moment
from playhead.model import (
    Execution,
    Outcome,
    Problem,
    Publication,
    PublishedIn,
    Replay,
    Why,
    WhyExample,
    WhyRoute,
)
from playhead.ports.catalog.browse import Browse
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.limits import Limits
from playhead.ports.catalog.prune import PrunedObject
from playhead.ports.catalog.trace import Descendant, PublishedBelow, Trace
from playhead.ports.store import Store
from playhead.reading.journey import ORDER, Group, Visited, Walk, explain, groups, replaced_in
from playhead.reading.listing import Listing
from playhead.reading.lookup import PrunedObjects, check_recorded, check_records, find_execution
from playhead.wording import declaration_text, wait_text
from playhead.work.routelimits import wait_of_route

MOST_MESSAGES: Final = 10_000
_MOST_EXAMPLES: Final = 3
_MOST_SOURCES: Final = 10
_MOST_PROBED: Final = 20
_MOST_NEAR: Final = 300


class WhyCatalog(Browse, Trace, Configs, Limits, PrunedObjects, Protocol):
    """The part of the catalog that `WhyService` needs."""

    async def replay(self, batch: UUID) -> Replay | None: ...

    async def publication_of(self, execution: UUID) -> Publication | None: ...

    async def published_in(self, keys: Sequence[str]) -> dict[str, list[PublishedIn]]: ...

    async def is_listed(self, job: UUID) -> bool: ...


class WhyService:
    """Explains outcomes. Its method raises `Unavailable` if a backend that it needs is unavailable."""

    def __init__(self, catalog: WhyCatalog, store: Store) -> None:
        self._catalog = catalog
        self._listing = Listing(catalog, store)

    async def explain(self, execution: UUID, path: str, stage: str | None = None) -> Why:
        """Return the trace of an item through the routes of an execution, and where it ended.

        The way of an item of a replay may begin in an execution that it replays. For an object of a
        publication, the trace has the execution that stored it, and the results that the publication has
        below it, also of other executions. At most 10,000 messages are read in each.

        Args:
            path: path of an input; or `stage/path`, a path in any stage, or the key of an object. The suffix
                may be missing if only one object of the same stage matches.
            stage: the stage that contains the path; None to find it.

        Raises:
            BadRequest: `invalid_path`.
            NotFound: `execution_not_found`; `object_not_found`, with similar paths; `records_deleted`.
        """
        line, deleted = await self._line(execution)
        shown: PublishedBelow | None = None
        if line[0].execution.kind == "publication":
            alias, made = await self._made_as(line[0], path, stage)
            shown = await self._catalog.published_below(alias, limit=MOST_MESSAGES)
            line, deleted = await self._line(keys.owner_of(made))
            path, stage = made, None
        key = await self._find(line, deleted, path, stage)
        routes: list[WhyRoute] = []
        before: Walk | None = None
        total, is_complete = 0, True
        for at in _visited(line, key):
            walk = await self._walk(at, key, before)
            replaced = replaced_in(walk.messages, shown) if shown else {}
            grouped = groups(at, walk.messages, is_complete=walk.is_complete, replaced=replaced)
            if not grouped:
                is_listed = at.execution.kind == "adopted" or await self._catalog.is_listed(at.id)
                missing = _without_message(at, key, before, is_listed=is_listed)
                grouped = [missing] if missing else []
            routes += [await self._route(group, at) for group in grouped]
            total += len(walk.messages)
            is_complete = is_complete and walk.is_complete
            before = walk
        if shown:
            for at, messages in await self._shown_elsewhere(line[0].id, shown):
                grouped = groups(at, messages, is_complete=False)
                routes += [await self._route(group, at) for group in grouped]
                total += len(messages)
            is_complete = is_complete and shown.is_complete
        gone = await self._catalog.pruned_object(key)
        await check_recorded(self._catalog, [one.id for one in line])
        found = _verdict(line[0], key, routes, total, is_complete, gone, is_published=shown is not None)
        if shown:
            text = found.explanation + await self._declared(key)
            found = replace(found, explanation=text, publication_id=execution)
        return replace(found, records_deleted_at=deleted.records_deleted_at) if deleted else found

    async def _declared(self, key: str) -> str:
        """Return what was declared about a published object; empty: nothing."""
        published = (await self._catalog.published_in([key])).get(key, [])
        return "".join(
            f"; readers of {one.dataset} see it: {declaration_text(one.declared_valid)}"
            for one in published
            if one.declared_valid
        )

    async def _walk(self, at: Visited, key: str, before: Walk | None) -> Walk:
        """Return the messages of an item in one execution.

        Args:
            before: the messages in the execution that this one replays; None if the way begins here.
        """
        if before is None:
            starts = await self._catalog.takers(key, execution=at.id, limit=MOST_MESSAGES)
        else:
            stage = at.replay.from_stage if at.replay else ""
            producers = [one.correlation_id for one in before.in_stage(stage)]
            starts = await self._catalog.replayed(producers, execution=at.id, limit=MOST_MESSAGES)
        found, is_complete = await self._catalog.descendants(
            starts, across_replays=False, limit=MOST_MESSAGES
        )
        return Walk(at, found, is_complete and len(starts) < MOST_MESSAGES)

    async def _shown_elsewhere(
        self, stored: UUID, shown: PublishedBelow
    ) -> list[tuple[Visited, list[Descendant]]]:
        """Return what a publication has below an object, except of the execution that stored the object.

        By execution, the oldest first.
        """
        found: dict[UUID, list[Descendant]] = {}
        for one in shown.messages:
            if one.execution_id != stored:
                found.setdefault(one.execution_id, []).append(one)
        return [((await self._line(one))[0][0], messages) for one, messages in sorted(found.items())]

    async def _made_as(self, at: Visited, path: str, stage: str | None) -> tuple[str, str]:
        """Return the key of an object in a publication, and the one under which an execution stored it.

        Raises `NotFound` with a part of the publication: the publication itself processed nothing.
        """
        for key in _candidates([at], None, path, stage)[:_MOST_PROBED]:
            if found := await self._listing.find(key):
                return key, found[0]
        publication = await self._catalog.publication_of(at.id)
        assert publication, "executions of this kind have one"
        raise NotFound(
            "object_not_found",
            f"publication {publication.n} of {publication.dataset} has no object {path!r}. To see what "
            "happened in the last execution from which it takes results, run: "
            f"playhead why {publication.parts[-1].execution_id} {shlex.quote(path)}"
            + (f" --stage {shlex.quote(stage)}" if stage else ""),
        )

    async def _line(self, execution: UUID) -> tuple[list[Visited], Execution | None]:
        """Return an execution, the one that it replays, and so on.

        Ends before an execution whose records are deleted, which is also returned.
        """
        line: list[Visited] = []
        following: UUID | None = execution
        while following and len(line) < _MOST_SOURCES:
            found = await find_execution(self._catalog, self._listing, following)
            if found.records_deleted_at and line:
                return line, found
            check_records(found)
            batch = found.replay_batch_id
            replay = await self._catalog.replay(batch) if batch else None
            loaded = None
            if found.config is not None:
                loaded = await self._catalog.config(found.config, found.config_version)
            line.append(Visited(found, replay, loaded.config if loaded else None))
            following = replay.from_execution_id if replay else None
        return line, None

    # -- which object ------------------------------------------------------------------------------

    async def _find(
        self, line: Sequence[Visited], deleted: Execution | None, path: str, stage: str | None
    ) -> str:
        """Return the key of the object that a path names."""
        candidates = _candidates(line, deleted, path, stage)
        known = await self._catalog.known_keys(candidates)
        for key in candidates:
            if key in known:
                return key
        # Objects that another program stored are not in the catalog.
        for key in candidates[:_MOST_PROBED]:
            if await self._listing.find(key):
                return key
        near: list[str] = []
        for key in candidates[:_MOST_PROBED]:
            ends = await self._suffixes(key)
            if len(ends) == 1:
                return key + ends[0]
            if ends:
                near = [path + end for end in ends[:_MOST_EXAMPLES]]
                break
        if deleted:  # it may have had the object
            check_records(deleted)
        near = near or await self._near(line[0], path, stage)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        where = f"stage {stage!r}" if stage else "its inputs and its other stages"
        raise NotFound(
            "object_not_found",
            f"execution {line[0].id} has no object {path!r} in {where}. "
            f"For an output that is missing, enter the path of its input.{hint}",
        )

    async def _suffixes(self, key: str) -> list[str]:
        """Return the suffixes with which a key without its suffix is stored."""
        # Keys are ordered by bytes, and "/" is the character after ".".
        stored = await self._catalog.stored_after(f"{key}.", f"{key}/", limit=_MOST_NEAR)
        return [end for one in stored if "/" not in (end := one.removeprefix(key))]

    async def _near(self, at: Visited, path: str, stage: str | None) -> list[str]:
        """Return similar paths among those that are stored near the path, and among the first ones."""
        start = f"{at.id}/{stage or keys.INPUT_STAGE}/"
        if at.replay and not stage:
            start = f"{at.replay.from_execution_id}/{at.replay.from_stage}/"
        half = path[: len(path) // 2]
        names: dict[str, None] = {}
        for folder, begin in ((start, half), (start, ""), (f"{at.id}/", half)):
            # Keys are ordered by bytes, and "0" is the character after "/".
            stored = await self._catalog.stored_after(folder + begin, folder[:-1] + "0", limit=_MOST_NEAR)
            names |= dict.fromkeys(key.removeprefix(folder) for key in stored)
        ends = [name for name in names if name.endswith("/" + path)]
        return list(dict.fromkeys(ends + difflib.get_close_matches(path, names, 3)))[:3]

    # -- what happened to it -------------------------------------------------------------------------

    async def _route(self, group: Group, at: Visited) -> WhyRoute:
        config = at.execution.config or ""
        why = explain(group, at)
        if group.outcome in ("pending", "retry") and at.config and group.route in at.config.routes:
            cooldowns = await self._catalog.cooldowns()
            if wait := wait_of_route(cooldowns, config, at.config.routes[group.route]):
                why = f"{why}; the route {wait_text(wait)}"
        return WhyRoute(
            execution_id=at.id,
            config=config,
            config_version=at.execution.config_version or 0,
            route=group.route,
            outcome=group.outcome,
            messages=len(group.messages),
            explanation=why,
            examples=[await self._example(one) for one in group.messages[:_MOST_EXAMPLES]],
            replaced_by=group.replaced_by,
        )

    async def _example(self, message: Descendant) -> WhyExample:
        outputs, every = list[str](), 0
        if message.status in ("completed", "taken_over"):
            outputs, every = await self._catalog.some_outputs(message.correlation_id, limit=_MOST_EXAMPLES)
        error = Problem(message.error_code, message.text or "") if message.error_code else None
        return WhyExample(
            *(message.correlation_id, message.input_key, outputs, every, message.attempts, error),
            message.retry_at,
        )


def _candidates(
    line: Sequence[Visited], deleted: Execution | None, path: str, stage: str | None
) -> list[str]:
    """Return the keys that a path may mean, the likeliest first.

    Raises:
        BadRequest: `invalid_path`.
    """
    named = keys.parse_key(path)
    if named is not None and stage is None:
        if named[0] not in [*(one.id for one in line), *([deleted.execution_id] if deleted else [])]:
            raise BadRequest(
                "invalid_path",
                f"{path!r} belongs to execution {named[0]}, not to {line[0].id}: name that one",
            )
        return [path]
    keys.check_path(path)
    if stage is not None:
        keys.check_path(stage, "stage")
    found: dict[str, None] = {}
    for one in line:
        if stage is not None:
            found[f"{one.id}/{stage}/{path}"] = None
            continue
        if one.replay:
            found[f"{one.replay.from_execution_id}/{one.replay.from_stage}/{path}"] = None
        else:
            found[f"{one.id}/{keys.INPUT_STAGE}/{path}"] = None
        found[f"{one.id}/{path}"] = None
    if stage is None:
        found |= {f"{one.id}/{declared}/{path}": None for one in line for declared in one.stages}
    return [key for key in found if keys.parse_key(key) is not None]


def _visited(line: Sequence[Visited], key: str) -> list[Visited]:
    """Return the executions that the way of an object goes through, the oldest first."""
    owner, _, rest = key.partition("/")
    place = next((n for n, one in enumerate(line) if str(one.id) == owner), len(line))
    following = line[place - 1].replay if place else None
    if place == len(line) or (following and rest.startswith(f"{following.from_stage}/")):
        # The object is what the next execution replays: what its own execution did with it is another way.
        return list(reversed(line[:place]))
    return list(reversed(line[: place + 1]))


def _without_message(at: Visited, key: str, before: Walk | None, *, is_listed: bool) -> Group | None:
    """Explain why an execution has no message of an item; None if none is expected."""
    execution, replay = at.execution, at.replay
    if key.startswith(f"{at.id}/"):
        if at.config is None or not key.startswith(f"{at.id}/{keys.INPUT_STAGE}/"):
            return None
        why = execution.error.message if execution.error else "the run has not recorded a message for it"
        was_cancelled = execution.status == "cancelled"
        return Group(at.config.entry, "cancelled" if was_cancelled else "not_listed", why)
    if replay is None:
        return None
    route = replay.to_route.rpartition("/")[2]
    selection = f"stage {replay.from_stage}" + (f", path {replay.from_path}" if replay.from_path else "")
    if not is_listed:
        return Group(route, "not_listed", f"the replay still lists the objects of {selection}")
    if before and not before.in_stage(replay.from_stage):
        why = f"the replay took {selection}, and no output of the item is there"
        return Group(route, "not_reached", why)
    if execution.status == "cancelled":
        return Group(
            route, "cancelled", f"the replay of {selection} was cancelled before it listed the object"
        )
    return Group(route, "not_replayed", f"the replay took {selection}, which does not contain the object")


def _verdict(
    at: Visited,
    key: str,
    routes: list[WhyRoute],
    messages: int,
    is_complete: bool,
    gone: PrunedObject | None,
    *,
    is_published: bool,
) -> Why:
    """Return the answer: the most serious outcome in the execution, or else in those that it replays.

    In a publication, that of results which it does not have does not count.
    """
    ends = [route for route in routes if route.outcome != "not_reached" and not route.replaced_by]
    pool = ends if is_published else [route for route in ends if route.execution_id == at.id] or ends
    outcome, text = _without_messages(at, key)
    if gone:
        outcome, text = "pruned", f"the object was pruned on {moment(gone.pruned_at)}"
    if pool:
        worst = min(pool, key=lambda route: ORDER[route.outcome])
        total = sum(route.messages for route in pool)
        those = f"{total:,}" if is_complete else f"the nearest {total:,}"
        of = f"{worst.messages:,} of {those} messages, " if total > 1 else ""
        of_other = f" of {'execution' if is_published else 'the source'} {worst.execution_id}"
        source = "" if worst.execution_id == at.id else of_other
        outcome, text = worst.outcome, f"{of}route {worst.route}{source}: {worst.explanation}"
        if outcome == "completed":
            text = "all messages of the item are completed"
    return Why(at.id, key, outcome, text, messages, is_complete, routes)


def _without_messages(at: Visited, key: str) -> tuple[Outcome, str]:
    """Explain an object that no message received."""
    rest = key.partition("/")[2]
    for route in at.config.routes.values() if at.config else ():
        if route.stage and rest.startswith(f"{route.stage}/") and not route.to:
            return "completed", f"the object is stored in stage {route.stage}, which no route follows"
    return "no_message", "the object is stored, and no message of this execution received it"
