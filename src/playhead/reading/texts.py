"""Find by texts: paths and attributes of objects, reasons, errors and adapters, in all executions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from playhead.errors import Unavailable
from playhead.ids import moment
from playhead.model import Found, FoundKind, Matches, RowState, TextSearch
from playhead.ports.catalog.terms import ObjectFacts, Place, Started, Term, Terms
from playhead.wording import SWITCHES

_MOST_TERMS: Final = 1000
"""Terms that are compared to find the newest ones."""
_LAST_ROWS: Final = 2000
"""Of the newest objects, which may not be indexed yet."""
_INDEXED_FIRST: Final = 200
"""How many rows a search indexes first: few, so that it does not wait for them."""
_PLACES: Final = 3
"""Executions of a path in which the newest object that exists is looked for."""
_MOST_COUNTED: Final = 1000
_ID: Final = 36
_FEWEST: Final = 3
"""Characters of a part that the index finds."""
_ORDER: Final[tuple[RowState, ...]] = (
    "dead",
    "running",
    "retry",
    "pending",
    "uncertain",
    "cancelled",
    "completed",
    "taken_over",
)
"""Which state of an object's messages is its outcome."""


class _Candidate(NamedTuple):
    """A path with the keys of its newest objects, newest first. `term`: if it is indexed."""

    place: str
    keys: Sequence[str]
    term: int | None


class Texts:
    """Finds what contains a text. No search reads all rows."""

    def __init__(self, catalog: Terms) -> None:
        self._catalog = catalog

    async def find(
        self, text: str, limit: int, wanted: Callable[[FoundKind], bool]
    ) -> tuple[list[Found], TextSearch]:
        """Return what contains a text, newest first within a kind, and how much was searched.

        At most `limit` + 1 of each kind are returned: one more, if there are more.
        """
        await self._index_some()
        index = await self._catalog.term_index()
        has_parts = index.has_parts and len(text) >= _FEWEST
        most = limit + 1
        searches: list[tuple[tuple[FoundKind, ...], Callable[[], Awaitable[list[Found]]]]] = [
            (("object",), lambda: self._objects(text, most, has_parts)),
            (("attribute", "replay", "execution"), lambda: self._others(text, most, has_parts)),
            (("dead_letter",), lambda: self._failures(text, most)),
            (("adapter",), lambda: self._adapters(text, most)),
            (("dataset",), lambda: self._switches(text, most)),
        ]
        found = await asyncio.gather(*(look() for kinds, look in searches if any(map(wanted, kinds))))
        shown = [one for part in found for one in part if wanted(one.kind)]
        matches: Matches = "parts" if has_parts else "beginnings"
        return shown, TextSearch(matches, index.indexed, index.recorded, index.has_parts)

    async def _index_some(self) -> None:
        with contextlib.suppress(Unavailable):  # it cannot be written now, but perhaps it can be read
            await self._catalog.index_terms(limit=_INDEXED_FIRST)

    # -- objects -----------------------------------------------------------------------------------

    async def _objects(self, text: str, limit: int, has_parts: bool) -> list[Found]:
        """Return the newest object of each path, and all objects at a path that is the text."""
        newest = await self._catalog.newest_keys(text, rows=_LAST_ROWS, limit=limit)
        # If these are enough, only the objects at the path that is the text can come before them.
        are_enough = len({key[_ID:] for key in newest}) >= limit
        terms = await self._catalog.terms_with(
            text, paths=True, has_parts=has_parts and not are_enough, limit=_MOST_TERMS
        )
        exact = [one for one in terms if one.text == text]
        chosen = [*exact, *(one for one in terms if one.text != text)][:limit]
        places = await self._catalog.places_of([one.n for one in chosen], limit=_PLACES)
        if exact:
            places |= await self._catalog.places_of([one.n for one in exact], limit=limit)
        known = {one.text: one.n for one in terms}
        candidates = [_Candidate(key[_ID + 1 :], [key], known.get(key[_ID + 1 :])) for key in newest]
        for one in chosen:
            keys = [f"{place.execution}/{one.text}" for place in places[one.n]]
            # All objects at the path that is the text; otherwise the newest that exists.
            parts = [[key] for key in keys] if one.text == text else [keys]
            candidates += [_Candidate(one.text, part, one.n) for part in parts]
        facts = await self._catalog.objects_found(list({key for one in candidates for key in one.keys}))
        shown = _newest(candidates, facts, text)[:limit]
        counts = await self._catalog.uses_counted(
            [one.term for one, _ in shown if one.term is not None], most=_MOST_COUNTED
        )
        return [_object(one, fact, text, counts) for one, fact in shown]

    # -- attributes and reasons --------------------------------------------------------------------

    async def _others(self, text: str, limit: int, has_parts: bool) -> list[Found]:
        terms = await self._catalog.terms_with(text, paths=False, has_parts=has_parts, limit=_MOST_TERMS)
        attributes = [one for one in terms if one.kind == "attribute"][:limit]
        reasons = {one.n: one.text for one in terms if one.kind == "reason"}
        found = await self._attributes(attributes)
        if reasons:
            started = await self._catalog.started_with(list(reasons), limit=limit)
            found += [_started(one, reasons[n]) for n, one in started]
        return found

    async def _attributes(self, terms: Sequence[Term]) -> list[Found]:
        places = await self._catalog.places_of([one.n for one in terms], limit=1)
        keys = {n: place.key for n, of in places.items() for place in of if place.key}
        facts = await self._catalog.objects_found(list(set(keys.values())))
        return [
            _attribute(one, places[one.n][0], facts[key])
            for one in terms
            if (key := keys.get(one.n)) and key in facts
        ]

    # -- what is not indexed -----------------------------------------------------------------------

    async def _failures(self, text: str, limit: int) -> list[Found]:
        return [
            Found(
                "dead_letter",
                str(one.id),
                one.execution,
                f"{one.code} in {one.config}/{one.route}: {one.error}",
                False,
                happened_at=moment(one.failed_at),
                outcome="dead",
            )
            for one in await self._catalog.failures_with(text, limit=limit)
        ]

    async def _adapters(self, text: str, limit: int) -> list[Found]:
        return [
            Found(
                "adapter",
                f"{one.config}/{one.route}",
                None,
                f"Adapter {one.adapter} in {one.config}/{one.route}",
                False,
            )
            for one in await self._catalog.adapters_with(text, limit=limit)
        ]

    async def _switches(self, text: str, limit: int) -> list[Found]:
        return [
            Found(
                "dataset",
                name := f"{one.config}/{one.dataset}",
                None,
                f"{SWITCHES[one.kind].format(n=one.publication, dataset=name)}: {one.reason}",
                False,
                happened_at=moment(one.at),
            )
            for one in await self._catalog.switches_with(text, limit=limit)
        ]


def _newest(
    candidates: Sequence[_Candidate], facts: Mapping[str, ObjectFacts], text: str
) -> list[tuple[_Candidate, ObjectFacts]]:
    """Return the candidates that exist, each path once, exact ones and then newest first."""
    found: dict[str, tuple[_Candidate, ObjectFacts]] = {}
    for one in candidates:
        fact = next((facts[key] for key in one.keys if key in facts), None)
        if fact is None:
            continue
        name = fact.key if one.place == text else one.place
        if name not in found or found[name][1].stored_at < fact.stored_at:
            found[name] = one, fact
    return sorted(found.values(), key=lambda pair: (pair[0].place != text, -pair[1].stored_at, pair[0].place))


def _object(one: _Candidate, fact: ObjectFacts, text: str, counts: Mapping[int, int]) -> Found:
    execution = UUID(fact.key[:_ID])
    return Found(
        "object",
        fact.key,
        execution,
        f"Object {one.place} of execution {execution}",
        one.place == text,
        happened_at=moment(fact.stored_at),
        outcome=_outcome(fact),
        is_current=fact.is_current,
        executions=None if one.term is None or one.place == text else counts.get(one.term),
    )


def _attribute(term: Term, place: Place, fact: ObjectFacts) -> Found:
    return Found(
        "attribute",
        fact.key,
        place.execution,
        f"{term.text}, of {fact.key[_ID + 1 :]} in execution {place.execution}",
        False,
        happened_at=moment(fact.stored_at),
        outcome=_outcome(fact),
        is_current=fact.is_current,
    )


def _started(one: Started, reason: str) -> Found:
    what = f"{one.kind.capitalize()} of {one.config}"
    if one.batch:
        what = f"Replay into {one.config}/{one.route}"
    return Found(
        "replay" if one.batch else "execution",
        str(one.batch or one.id),
        one.id,
        f"{what}: {reason}",
        False,
        happened_at=moment(one.created_at),
        outcome=one.state,
    )


def _outcome(fact: ObjectFacts) -> str:
    """Return the state of an object that needs attention most, over the routes that have received it."""
    if fact.is_pruned:
        return "pruned"
    return next((state for state in _ORDER if state in fact.states), next(iter(fact.states), "stored"))
