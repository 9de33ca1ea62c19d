"""The methods of a client about objects: list, read, search and find them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from playhead.client.connection import Connection, Name
from playhead.model import FindAnswer, FoundKind, ObjectVersion, SearchHit, StoredObject


class ObjectMethods(Connection):
    """See `AsyncClient`."""

    async def objects(
        self,
        execution: Name = "latest",
        stage: str | None = None,
        path: str | None = None,
        *,
        limit: int | None = None,
    ) -> list[StoredObject]:
        """Return the objects that a replay of this stage and path would select, by key.

        Args:
            execution: the execution.
            stage: the stage; None: all stages.
            path: a folder or an object in the stage; None: the whole stage.
            limit: the largest number of objects; None: all.
        """
        identity = await self._execution(execution)
        return await self._collect(partial(self._services.objects.list, identity, stage, path), limit)

    async def read(self, key: str | StoredObject) -> bytes:
        """Return the bytes of an object. A key may begin with a name such as `latest`."""
        found = await self._services.objects.content(await self._key(key))
        return b"".join([chunk async for chunk in found.chunks])

    async def read_text(self, key: str | StoredObject, encoding: str = "utf-8") -> str:
        """Return the text of an object."""
        return (await self.read(key)).decode(encoding)

    async def metadata(self, key: str | StoredObject) -> dict[str, Any]:
        """Return the sidecar of an object: its size, sha256, content type, attributes and origin.

        That of a pruned object is what the catalog knows, with `pruned_at`.
        """
        found: dict[str, Any] = json.loads(await self._services.objects.metadata(await self._key(key)))
        return found

    async def object_versions(self, key: str | StoredObject) -> list[ObjectVersion]:
        """Return the objects with the same stage and path in the run and in all its replays, oldest first."""
        return await self._services.objects.versions(await self._key(key))

    async def search(
        self, index: str, words: str, execution: Name | None = None, *, limit: int = 10
    ) -> list[SearchHit]:
        """Search an index that a `sqlite_search` step filled; the best hits come first.

        Args:
            index: the `path` in the config of the step.
            words: separated by spaces; a hit has at least one of them.
            execution: the execution or the publication to search; None: what is published, or else the
                newest entries of each document.
            limit: the largest number of hits.
        """
        of = None if execution is None else await self._execution(execution)
        return await self._services.search.search(index, words, of, limit)

    async def find(self, text: str, *, kind: FoundKind | None = None, limit: int = 20) -> FindAnswer:
        """Find what a text names, and what contains it in all executions.

        Args:
            text: an id or its last digits, a tag, a key, the name of a config, route, queue or stage; or a
                part of a path, an attribute, a reason, an error or the type of an adapter.
            kind: find only this kind.
            limit: the largest number of items of each kind.
        """
        return await self._services.find.everything(text, kind, limit)
