"""Find what a text names (ids, tags, keys, names), and what contains it (paths, attributes, reasons, …)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final, Literal, Protocol
from urllib.parse import parse_qsl, unquote
from uuid import UUID

from playhead.errors import BadRequest, NotFound, Unavailable
from playhead.ids import parse_uuid
from playhead.keys import parse_key
from playhead.model import FOUND_KINDS, Execution, FindAnswer, Found, FoundGroup, FoundKind
from playhead.ports.catalog.browse import IdKind, Reference
from playhead.ports.catalog.configs import Loaded
from playhead.ports.catalog.find import Find, FoundRow, RowKind
from playhead.ports.catalog.outputs import RecordedOutput
from playhead.ports.catalog.terms import Terms
from playhead.ports.store import Store
from playhead.reading.listing import Listing
from playhead.reading.texts import Texts

_ID: Final = re.compile(r"(?<![\w-])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![\w-])")
_DIGITS: Final = re.compile(r"[0-9a-fA-F](?:-?[0-9a-fA-F]){3,31}")
_URL: Final = re.compile(r"(?:https?://[^/?#]*)?(?P<path>/[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?", re.S)
_NOUNS: Final = ("executions", "replays", "dead-letters", "lineage", "configs", "queues", "plans", "plan")
_ENDS: Final[tuple[tuple[IdKind, RowKind], ...]] = (
    ("execution", "execution"),
    ("batch", "replay"),
    ("message", "message"),
)
_KINDS: Final[tuple[RowKind, ...]] = ("execution", "replay", "message", "plan")
_FEWEST_FIRST_DIGITS: Final = 8
"""Of an id that is given by its beginning. Ids of the same minute share them."""
_SHARED_DIGITS: Final = (28, 20, 12, 9)
"""How many first digits of an id a similar id shares; the most similar ids are looked for first."""
_LAST_DIGITS: Final = 8
_LAST: Final = "\U0010ffff"
"""Follows every text with the same beginning."""
_MOST_NEAR: Final = 5
_SEVERAL: Final = ("attribute", "dataset", "adapter")
"""Kinds of which several items have the same id."""
_MOST_IDS: Final = 5
"""Ids in a longer text that are looked up."""


class FindCatalog(Find, Terms, Protocol):
    """The part of the catalog that `FindService` needs."""

    async def recorded(self, first: str, last: str, *, limit: int) -> list[RecordedOutput]: ...

    async def ids_ending(self, kind: IdKind, digits: str, *, execution: UUID | None = None) -> list[UUID]: ...

    async def config(self, name: str, version: int | None = None) -> Loaded | None: ...

    async def unstored(self, keys: Sequence[str]) -> set[str]: ...

    async def references(self, prefix: str, *, after: str = "", limit: int) -> list[Reference]: ...


class Names(Protocol):
    """What resolves the names of executions: `ResolveService`."""

    async def execution(self, text: str) -> UUID: ...

    async def key(self, text: str) -> str: ...


class FindService:
    """Finds what a text names. Each lookup uses an index, so none depends on the number of rows.

    Args:
        store: knows executions and objects that another program stored. If it is unavailable, these are not
            found.
    """

    def __init__(self, catalog: FindCatalog, store: Store, names: Names) -> None:
        self._catalog = catalog
        self._store = store
        self._listing = Listing(catalog, store)
        self._names = names
        self._texts = Texts(catalog)

    async def everything(self, text: str, kind: FoundKind | None = None, limit: int = 20) -> FindAnswer:
        """Return what a text names, and what contains it, by kind.

        In each group, exact matches come first, then the newest.

        Args:
            kind: return only this kind.
            limit: maximum number of items of each kind.

        Raises:
            Unavailable: `catalog_unavailable`.
        """

        def is_wanted(one: FoundKind) -> bool:
            return kind in (None, one)

        named = await self.find(text, limit + 1)
        found, search = await self._texts.find(_comparable(text), limit, is_wanted)
        # What was found by its text says more than what was found by its name.
        groups = _grouped([one for one in (*found, *named) if is_wanted(one.kind)])
        shown = [FoundGroup(of, items[:limit], len(items) > limit) for of, items in groups.items() if items]
        return FindAnswer(shown, search)

    async def index(self) -> bool:
        """Index a page of what is not indexed yet. Return whether there is more."""
        return await self._catalog.index_terms()

    async def clear_index(self) -> None:
        """Empty the index of paths, attributes and reasons. It is filled again page by page."""
        await self._catalog.clear_terms()

    async def find(self, text: str, limit: int = 20) -> list[Found]:
        """Return up to `limit` things that a text names, exact ones first.

        The text may be copied with quotes or spaces around it, may be a URL of the API, or may contain ids.
        For an id that does not exist, ids with a similar beginning or end are returned.

        Raises:
            Unavailable: `catalog_unavailable`.
        """
        found: dict[tuple[str, str], Found] = {}
        for name in _names_in(_comparable(text)):
            async for one in self._look(name, limit):
                known = found.get((one.kind, one.id))
                if known is None or one.is_exact > known.is_exact:
                    found[one.kind, one.id] = one
            if any(one.is_exact for one in found.values()):
                break
        return sorted(found.values(), key=lambda one: not one.is_exact)[:limit]

    async def _look(self, name: str, limit: int) -> AsyncIterator[Found]:
        """Yield what one name leads to. The same item may be yielded twice."""
        if identity := parse_uuid(name):
            async for one in self._with_id(identity):
                yield one
            return
        word, colon, rest = name.partition(":")
        if word == "latest" or (word == "tag" and colon):
            async for one in self._named(name):
                yield one
            if word == "tag":
                async for one in self._tagged(rest, limit):
                    yield one
            return
        if "/" in name:
            async for one in self._objects(name, limit):
                yield one
        declared = await self._declared(name)
        for one in declared:
            yield one
        async for one in self._tagged(name, limit):
            yield one
        if _DIGITS.fullmatch(name):
            async for one in self._digits(name.replace("-", "").lower(), limit):
                yield one

    # -- ids ---------------------------------------------------------------------------------------

    async def _with_id(self, identity: UUID) -> AsyncIterator[Found]:
        is_found = False
        for kind in _KINDS:
            for row in await self._catalog.ids_between(kind, identity, identity, limit=1):
                is_found = True
                yield _found(row, is_exact=True)
        if not is_found and (adopted := await self._adoptable(identity)):
            is_found = True
            yield Found("execution", str(identity), identity, _title_of_adopted(adopted), True)
        if not is_found:
            async for one in self._near(identity.hex):
                yield one

    async def _near(self, digits: str) -> AsyncIterator[Found]:
        """Yield what has an id with the same beginning, the most similar first, or with the same end."""
        for kind in _KINDS:
            for shared in _SHARED_DIGITS:
                rows = await self._catalog.ids_between(kind, *_range(digits[:shared]), limit=_MOST_NEAR)
                for row in rows:
                    yield _found(row, is_exact=False)
                if rows:
                    break
        async for one in self._ending(digits[-_LAST_DIGITS:], _MOST_NEAR, is_exact=False):
            yield one

    async def _digits(self, digits: str, limit: int) -> AsyncIterator[Found]:
        async for one in self._ending(digits, limit, is_exact=True):
            yield one
        if len(digits) >= _FEWEST_FIRST_DIGITS:
            for kind in _KINDS:
                for row in await self._catalog.ids_between(kind, *_range(digits), limit=limit):
                    yield _found(row, is_exact=False)

    async def _ending(self, digits: str, limit: int, *, is_exact: bool) -> AsyncIterator[Found]:
        for ending, kind in _ENDS:
            for identity in sorted(await self._catalog.ids_ending(ending, digits), reverse=True)[:limit]:
                for row in await self._catalog.ids_between(kind, identity, identity, limit=1):
                    yield _found(row, is_exact=is_exact)

    async def _adoptable(self, identity: UUID) -> Execution | None:
        try:
            return await self._listing.adoptable(identity)
        except Unavailable:
            return None

    # -- names -------------------------------------------------------------------------------------

    async def _named(self, name: str) -> AsyncIterator[Found]:
        """Yield the execution that `latest`, `latest:…` or `tag:…` names."""
        try:
            identity = await self._names.execution(name)
        except (NotFound, BadRequest):
            return
        for row in await self._catalog.ids_between("execution", identity, identity, limit=1):
            yield _found(row, is_exact=True)

    async def _tagged(self, tag: str, limit: int) -> AsyncIterator[Found]:
        """Yield the newest execution of each tag that begins with a text."""
        for found, row in await self._catalog.tags_from(tag, limit=limit):
            title = f"{_title_of(row)}; the newest with the tag {found}"
            yield Found("execution", str(row.id), row.id, title, found == tag)

    async def _objects(self, name: str, limit: int) -> AsyncIterator[Found]:
        """Yield objects whose keys begin with a text, or otherwise objects in the same folder."""
        try:
            key = await self._names.key(name)
        except (NotFound, BadRequest):
            return
        parsed = parse_key(key)
        if parsed is None and parse_uuid(key.partition("/")[0]) is None:
            return
        found = await self._recorded(key, limit)
        if not found and parsed and await self._is_in_store(key):
            found = [(key, "")]
        if not found:
            found = await self._recorded(f"{key.rpartition('/')[0]}/", _MOST_NEAR)
        for one, note in found:
            execution, _, rest = one.partition("/")
            title = f"Object {rest} of execution {execution}{note}"
            yield Found("object", one, parse_uuid(execution), title, one == key)

    async def _recorded(self, prefix: str, limit: int) -> list[tuple[str, str]]:
        """Return the keys of recorded objects that begin with a text, and a note."""
        found = await self._catalog.recorded(prefix, prefix + _LAST, limit=limit)
        return [(one.key, "" if one.pruned_at is None else ", pruned") for one in found]

    async def _is_in_store(self, key: str) -> bool:
        try:
            return not await self._catalog.unstored([key]) and await self._store.stat(key) is not None
        except Unavailable:
            return False

    async def _declared(self, text: str) -> list[Found]:
        """Return configs, routes and queues with a text in their names, and routes of such stages.

        A text of one or two characters must be at the beginning.
        """
        found: dict[tuple[str, str], Found] = {}
        wanted = text.lower()

        def matches(name: str) -> bool:
            return name.lower().startswith(wanted) or (len(wanted) > 2 and wanted in name.lower())

        def add(
            kind: Literal["config", "route", "queue"], identity: str, title: str, names: Sequence[str]
        ) -> None:
            if any(matches(name) for name in names):
                one = Found(kind, identity, None, title, text in names)
                found.setdefault((kind, identity), one)

        for config, route, queue, stage in await self._catalog.route_names():
            place = f"{config}/{route}"
            add("config", config, f"Config {config}", [config])
            stores = f", which stores the stage {stage}" if stage else ""
            add("route", place, f"Route {place}{stores}", [route, place, *([stage] if stage else [])])
            add("queue", queue, f"Queue {queue} of the route {place}", [queue])
        return list(found.values())


def _grouped(found: Iterable[Found]) -> dict[FoundKind, list[Found]]:
    """Return items by kind, each once, exact ones first."""
    groups: dict[FoundKind, dict[tuple[str, str], Found]] = {kind: {} for kind in FOUND_KINDS}
    for one in found:
        title = one.title if one.kind in _SEVERAL else ""
        known = groups[one.kind].get((one.id, title))
        exact = one.is_exact or (known is not None and known.is_exact)
        groups[one.kind][one.id, title] = replace(known or one, is_exact=exact)
    return {kind: sorted(items.values(), key=lambda one: not one.is_exact) for kind, items in groups.items()}


def _comparable(text: str) -> str:
    """Return a text in the form of keys, as databases can compare it."""
    stripped = text.replace("\0", "").encode("utf-8", "replace").decode().strip()
    return unicodedata.normalize("NFC", stripped)


def _names_in(text: str) -> Iterator[str]:
    """Yield what a text may name: the text without quotes, or parts of a URL; then the ids in it."""
    stripped = text.strip().strip("\"'`<>()[]{},;").strip()
    if url := _URL.fullmatch(stripped):
        yield from (value for _, value in parse_qsl(url["query"] or "") if "/" in value)
        parts = [unquote(part) for part in url["path"].split("/")]
        yield from (part for noun, part in pairwise(parts) if noun in _NOUNS and part)
    elif stripped:
        yield stripped
    for identity in dict.fromkeys(_ID.findall(stripped)[:_MOST_IDS]):
        if identity != stripped:
            yield identity


def _range(digits: str) -> tuple[UUID, UUID]:
    """Return the first and the last id that begin with these digits."""
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def _found(row: FoundRow, *, is_exact: bool) -> Found:
    return Found(row.kind, str(row.id), row.execution, _title_of(row), is_exact)


def _title_of(row: FoundRow) -> str:
    place = f"{row.config}/{row.route}"
    match row.kind:
        case "execution":
            of = f" of config {row.config}" if row.config else ""
            return f"{row.detail.capitalize()}{of}: {row.state}"
        case "replay":
            return f"Replay into {place}: {row.state}"
        case "plan":
            return f"Plan of a replay into {place}: {row.state}"
        case "message":
            return f"Message of {place}: {row.state}, object {row.detail.partition('/')[2]}"
        case "dead_letter":
            return f"Dead letter of {place}: {row.state}, object {row.detail.partition('/')[2]}"


def _title_of_adopted(execution: Execution) -> str:
    return f"Objects of another program, stored since {execution.created_at}"
