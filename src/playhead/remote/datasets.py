"""Datasets and publications over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from playhead.errors import Conflict
from playhead.ids import uuid7
from playhead.model import (
    OPEN_PUBLICATION_STATES,
    Dataset,
    Page,
    Publication,
    PublicationPreview,
    PublishRequest,
)
from playhead.model.datasets import NOT_IN_BODY
from playhead.reading.datasets import no_draft, nothing_published
from playhead.remote.client import HARMLESS, WORK_SECONDS, segment
from playhead.remote.derived import Remote, derived, of_dataset
from playhead.remote.repeating import repeated
from playhead.services.publish import PublishService, Tried

_WAIT_SECONDS: Final = 0.5
_LOST: Final = "it may be published; `playhead publications` shows it"


class RemotePublish(Remote):
    """Remote `PublishService`. The server prepares publications in the background."""

    async def datasets(self) -> list[Dataset]:
        return (await self._client.get("datasets", Page[Dataset])).items

    dataset = derived(PublishService.dataset, "datasets/{name:dataset}")
    publications = derived(PublishService.publications, "datasets/{name:dataset}/publications", every="all")
    switches = derived(PublishService.switches, "datasets/{name:dataset}/switches")
    notes = derived(PublishService.notes, "datasets/{name:dataset}/notes", n="at")
    code = derived(PublishService.code, "datasets/{name:dataset}/code", n="at")
    stale = derived(PublishService.stale, "datasets/{name:dataset}/stale", n="at")
    changes = derived(PublishService.changes, "datasets/{name:dataset}/changes")
    roll_back = derived(PublishService.roll_back, "datasets/{name:dataset}/rollback", verb="POST", lost=_LOST)
    check = derived(PublishService.check, "datasets/{name:dataset}/index/check", verb="POST")
    forget = derived(PublishService.forget, "datasets/{name:dataset}/forget", verb="POST")
    release = derived(PublishService.release, "datasets/{name:dataset}/release", verb="POST")

    async def publication(self, name: str, n: int | None = None) -> Publication:
        if n is None:
            n = (await self.dataset(name)).current
        if n is None:
            raise nothing_published(name)
        path, query = place_of(name, "publications", n)
        return await self._client.get(path, Publication, **query)

    async def preview(self, name: str, request: PublishRequest) -> PublicationPreview:
        path, query = place_of(name, "publications")
        body = _body(request) | {"dry_run": True}
        how: dict[str, Any] = {"lost": HARMLESS, "json": body, "query": query, "seconds": WORK_SECONDS}
        return await self._client.post(path, PublicationPreview, **how)

    async def begin(self, name: str, request: PublishRequest, *, key: str | None = None) -> Publication:
        path, query = place_of(name, "publications")
        key = str(uuid7()) if key is None else key
        lost = f"{_LOST}. To repeat the request without a second publication, use the same key: --key {key}"
        headers = {"Idempotency-Key": key}
        how: dict[str, Any] = {"lost": lost, "json": _body(request), "query": query, "headers": headers}
        return await repeated(lambda: self._client.post(path, Publication, **how), lost)

    async def publish(
        self,
        name: str,
        request: PublishRequest,
        begun: Callable[[Publication], None] = lambda made: None,
        *,
        key: str | None = None,
    ) -> Publication:
        made = await self.begin(name, request, key=key)
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

    async def follow(self) -> None:
        """The workers of the server do it."""

    async def pin(self, name: str, n: int, pinned: bool = True) -> Publication:
        path, query = place_of(name, "publications", n, "pin" if pinned else "unpin")
        return await self._client.post(path, Publication, lost=HARMLESS, query=query)


def place_of(name: str, *rest: object) -> tuple[str, dict[str, Any]]:
    """Return the path of a dataset, and the parameter that names its config."""
    query, alone = of_dataset(name)
    return "/".join(["datasets", segment(alone), *map(str, rest)]), query


def _body(request: PublishRequest) -> dict[str, Any]:
    return {one: value for one, value in asdict(request).items() if one not in NOT_IN_BODY}
