"""Datasets and publications over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from playhead.errors import Conflict
from playhead.model import (
    OPEN_PUBLICATION_STATES,
    Dataset,
    DatasetChange,
    NoteKind,
    Page,
    Publication,
    PublicationNote,
    PublicationPreview,
    PublishRequest,
    Switch,
)
from playhead.reading.datasets import no_draft, nothing_published
from playhead.remote.client import HARMLESS, WORK_SECONDS, segment
from playhead.remote.derived import Remote
from playhead.services.publish import Tried

_WAIT_SECONDS: Final = 0.5
_LOST: Final = "it may be published; `playhead publications` shows it"


class RemotePublish(Remote):
    """Remote `PublishService`. The server prepares publications in the background."""

    async def datasets(self) -> list[Dataset]:
        return (await self._client.get("datasets", Page[Dataset])).items

    async def dataset(self, name: str) -> Dataset:
        path, query = place_of(name)
        return await self._client.get(path, Dataset, **query)

    async def publications(
        self, name: str, cursor: str | None = None, limit: int = 100, *, every: bool = False
    ) -> Page[Publication]:
        path, query = place_of(name, "publications")
        given = query | {"cursor": cursor, "limit": limit, "all": every}
        return await self._client.get(path, Page[Publication], **given)

    async def publication(self, name: str, n: int | None = None) -> Publication:
        if n is None:
            n = (await self.dataset(name)).current
        if n is None:
            raise nothing_published(name)
        path, query = place_of(name, "publications", n)
        return await self._client.get(path, Publication, **query)

    async def switches(self, name: str, limit: int = 100) -> list[Switch]:
        path, query = place_of(name, "switches")
        return (await self._client.get(path, Page[Switch], limit=limit, **query)).items

    async def notes(
        self,
        name: str,
        n: int | None = None,
        kind: NoteKind | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[PublicationNote]:
        path, query = place_of(name, "notes")
        given = query | {"at": n, "kind": kind, "cursor": cursor, "limit": limit}
        return await self._client.get(path, Page[PublicationNote], **given)

    async def changes(
        self,
        name: str,
        since: int,
        until: int | None = None,
        stage: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DatasetChange]:
        path, query = place_of(name, "changes")
        given = query | {"since": since, "until": until, "stage": stage, "cursor": cursor, "limit": limit}
        return await self._client.get(path, Page[DatasetChange], **given)

    async def preview(self, name: str, request: PublishRequest) -> PublicationPreview:
        path, query = place_of(name, "publications")
        body = _body(request) | {"dry_run": True}
        how: dict[str, Any] = {"lost": HARMLESS, "json": body, "query": query, "seconds": WORK_SECONDS}
        return await self._client.post(path, PublicationPreview, **how)

    async def begin(self, name: str, request: PublishRequest) -> Publication:
        path, query = place_of(name, "publications")
        return await self._client.post(path, Publication, lost=_LOST, json=_body(request), query=query)

    async def publish(
        self, name: str, request: PublishRequest, begun: Callable[[Publication], None] = lambda made: None
    ) -> Publication:
        made = await self.begin(name, request)
        begun(made)
        while made.state in OPEN_PUBLICATION_STATES:
            await asyncio.sleep(_WAIT_SECONDS)
            made = await self.publication(name, made.n)
        if made.state == "abandoned":
            why = made.refusal
            code, detail = (why.code, why.detail) if why else ("publication_cancelled", "it was cancelled")
            raise Conflict(code, detail)
        return made

    async def publish_run(self, run: UUID, config: str) -> list[Tried]:
        return []  # the server does it

    async def cancel(self, name: str) -> Publication:
        draft = (await self.dataset(name)).draft
        if draft is None:
            raise no_draft(name)
        path, query = place_of(name, "publications", draft.n, "cancel")
        return await self._client.post(path, Publication, lost=HARMLESS, query=query)

    async def roll_back(
        self, name: str, to: int | None = None, expect_seq: int | None = None, reason: str | None = None
    ) -> Dataset:
        path, query = place_of(name, "rollback")
        body = {"to": to, "expect_seq": expect_seq, "reason": reason}
        return await self._client.post(path, Dataset, lost=_LOST, json=body, query=query)

    async def check(self, name: str, route: str | None = None, *, repair: bool = False) -> Dataset:
        path, query = place_of(name, "index", "check")
        body = {"route": route, "repair": repair}
        return await self._client.post(path, Dataset, lost=HARMLESS, json=body, query=query)

    async def follow(self) -> None:
        """The workers of the server do it."""

    async def release(self, name: str) -> Dataset:
        path, query = place_of(name, "release")
        return await self._client.post(path, Dataset, lost=HARMLESS, query=query)

    async def pin(self, name: str, n: int, pinned: bool = True) -> Publication:
        path, query = place_of(name, "publications", n, "pin" if pinned else "unpin")
        return await self._client.post(path, Publication, lost=HARMLESS, query=query)


def place_of(name: str, *rest: object) -> tuple[str, dict[str, Any]]:
    """Return the path of a dataset, and the parameter that names its config."""
    config, _, alone = name.rpartition("/")
    path = "/".join(["datasets", segment(alone), *map(str, rest)])
    return path, {"config": config} if config else {}


def _body(request: PublishRequest) -> dict[str, Any]:
    given = asdict(request)
    del given["automatic"], given["keeps_hold"]
    named = {name: [str(one) for one in given[name]] for name in ("executions", "add")}
    return given | named | {"base": str(request.base) if request.base else None}
