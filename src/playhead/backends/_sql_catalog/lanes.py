"""Lanes, origins, ids and times as rows hold them, and dispatches built from rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.requests import decode_effects
from playhead.backends.sql.session import Row, Session, Transactions
from playhead.backends.sql.statements import SQL
from playhead.envelope import Dispatch, Headers
from playhead.ids import moment, text
from playhead.model import OnReplay, Retention

_MOST_ORIGINS: Final = 10_000


def as_uuid(value: UUID | bytes) -> UUID:
    """An id as a database returns it."""
    return value if isinstance(value, UUID) else UUID(bytes=value)


def as_uuid_or_none(value: UUID | bytes | None) -> UUID | None:
    return as_uuid(value) if value is not None else None


def as_text(value: UUID | bytes) -> str:
    return text(value) if isinstance(value, bytes) else str(value)


def moment_or_none(seconds: float | None) -> str | None:
    return moment(seconds) if seconds is not None else None


def as_retention(text: str) -> Retention:
    """A retention as a row holds it."""
    fields = json.loads(text)
    return Retention(**{**fields, "stages": tuple(fields["stages"])})


def below(prefix: str, after: str = "") -> dict[str, str]:
    """Return two texts between which all keys below a prefix are, and no other keys: `0` follows `/`. Keys up
    to `after` are left out."""
    return {"first": max(f"{prefix}/", after), "last": f"{prefix}0"}


def storable(text: str | None) -> str | None:
    """Text that every database stores: the messages of adapters may hold zero bytes and lone surrogates."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class Lane(NamedTuple):
    """A route of a config version. Lanes never change, so processes remember them."""

    id: int
    config_version: int
    config: str
    version: int
    hash: str
    route: str
    queue: str
    stage: str | None
    external: bool
    max_attempts: int
    feeds: tuple[str, ...]
    declared: str | None

    @classmethod
    def of(cls, row: Sequence[Any]) -> Lane:
        """From the columns of the fragment `lane`."""
        return cls._make((*row[:8], bool(row[8]), row[9], tuple(json.loads(row[10])), row[11]))


class DispatchMaker:
    """Builds dispatches from rows, with one `Headers` for each execution, lane and level.

    Args:
        lanes: all the lanes of the rows, by number.
    """

    def __init__(self, lanes: Mapping[int, Lane]) -> None:
        self._lanes = lanes
        self._headers: dict[tuple[int, int, bool], tuple[Headers, bool]] = {}

    def headers(
        self,
        execution: int,
        lane_id: int,
        identity: UUID | bytes,
        batch: Any,
        traceparent: str | None,
        is_bulk: bool,
    ) -> tuple[Headers, bool]:
        """Return what dispatches of an execution on a lane share, and whether the lane is external.

        The queue of an external lane has no bulk level.
        """
        known = self._headers.get((execution, lane_id, is_bulk))
        if known is None:
            lane = self._lanes[lane_id]
            made = Headers(
                *(lane.queue, as_uuid(identity), lane.config, lane.version, lane.route),
                *(as_uuid_or_none(batch), traceparent, bool(is_bulk) and not lane.external),
            )
            known = self._headers[execution, lane_id, is_bulk] = (made, lane.external)
        return known

    def dispatches(self, rows: Iterable[Row]) -> list[Dispatch]:
        """Return a dispatch for each row with the columns of the fragment `dispatch`."""
        made = []
        for cid, generation, parent, key, ordinal, execution, lane_id, *origin, _ in rows:
            headers, external = self.headers(execution, lane_id, *origin)
            above = as_text(parent) if parent else None
            made.append(Dispatch(headers, as_text(cid), generation, above, key, external, ordinal))
        return made


async def lanes_of(db: Session, config_version: int) -> list[Lane]:
    """Return the lanes of a config version, in the order of the config."""
    return [Lane.of(row) for row in await db.rows(SQL.lanes_of_version, version=config_version)]


class Lanes:
    """The lanes that this process has read, and dispatches of rows on them.

    Args:
        transactions: if one of their connections is lost, the lanes are read again: a standby that took over
            may number them differently.

    Attributes:
        losses: how many connections had been lost when the lanes were read.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._db = transactions
        self.losses = 0
        self._known: dict[int, Lane] = {}
        self._feeds: dict[tuple[int, str], int] = {}

    async def learn(self, db: Session, lane_ids: Iterable[int]) -> dict[int, Lane]:
        """Make sure that these lanes are known; return all known lanes. Most calls read nothing."""
        self._forget_if_lost()
        known = self._known
        missing = set(lane_ids) - known.keys()
        if missing:
            rows = await db.rows(SQL.lanes_by_id, ids=list(missing))
            known |= {row[0]: Lane.of(row) for row in rows}
        return known

    async def feed(self, db: Session, config_version: int, route: str) -> int:
        """Return the lane of a route of a config version."""
        self._forget_if_lost()
        known = self._feeds
        if (config_version, route) not in known:
            lanes = await lanes_of(db, config_version)
            known |= {(config_version, lane.route): lane.id for lane in lanes}
        return known[config_version, route]

    def _forget_if_lost(self) -> None:
        if self.losses != self._db.losses:
            self.losses = self._db.losses
            self._known, self._feeds = {}, {}  # another task may still read the old ones

    async def dispatches(self, db: Session, rows: Sequence[Row]) -> list[Dispatch]:
        """Return a dispatch for each row with the columns of the fragment `dispatch`."""
        return DispatchMaker(await self.learn(db, {row[6] for row in rows})).dispatches(rows)

    async def unpublished_children(self, db: Session, parents: Sequence[int]) -> dict[str, list[Dispatch]]:
        """Return dispatches of children that no process has published, by the id of their parent."""
        found: dict[str, list[Dispatch]] = defaultdict(list)
        if parents:
            rows = await db.rows(SQL.unpublished_children, parents=parents)
            for dispatch in await self.dispatches(db, rows):
                found[dispatch.parent or ""].append(dispatch)
        return found


class Origin(NamedTuple):
    """What messages of an execution carry with them.

    Attributes:
        is_bulk: the level of messages that have none of their own. It is decided before the first message is
            published, so it never changes afterwards.
        effects: what a replay does in its routes; empty: all of them run. Of this, another process may add
            routes (`skip_route`). Then this process closes their messages when it finds their effects too.
        reuses: whether it takes over results.
    """

    id: UUID
    batch: UUID | None
    traceparent: str | None
    is_bulk: bool
    effects: Mapping[str, OnReplay]
    reuses: bool


class Origins:
    """The origins that this process has read. They are forgotten with the lanes, so learn those first."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._losses = 0
        self._known: dict[int, Origin] = {}

    async def learn(self, db: Session, executions: set[int]) -> dict[int, Origin]:
        """Make sure that the origins of these executions are known; return all that are."""
        if self._losses != self._lanes.losses:
            self._losses, self._known = self._lanes.losses, {}  # another task may still read the old ones
        known = self._known
        if not executions <= known.keys():
            if len(known) > _MOST_ORIGINS:
                known = self._known = {}
            rows = await db.rows(SQL.executions_named, numbers=list(executions - known.keys()))
            for n, cid, batch, trace, is_bulk, effects, reuses in rows:
                known[n] = Origin(
                    *(as_uuid(cid), as_uuid_or_none(batch), trace, bool(is_bulk)),
                    *(decode_effects(effects), bool(reuses)),
                )
        return known

    def forget(self, execution: int) -> None:
        self._known.pop(execution, None)
