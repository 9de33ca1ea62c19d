"""The methods of a client about datasets: publish, roll back, and see what has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from playhead.client.connection import Connection, Name
from playhead.model import (
    CodeResults,
    Dataset,
    DatasetChange,
    NoteKind,
    Publication,
    PublicationNote,
    PublicationPreview,
    PublishRequest,
    StaleResult,
    WebhookDelivery,
)

if TYPE_CHECKING:
    from playhead.model import Allowed, OnFailure


class DatasetMethods(Connection):
    """See `AsyncClient`. A dataset is `NAME`, or `CONFIG/NAME` if several configs have the name."""

    async def datasets(self) -> list[Dataset]:
        """Return all datasets, and what their readers see."""
        return await self._services.publish.datasets()

    async def dataset(self, name: str) -> Dataset:
        """Return a dataset, and what its readers see."""
        return await self._services.publish.dataset(name)

    async def watch_dataset(self, name: str) -> AsyncIterator[Dataset]:
        """Yield a dataset now, and after each change of what its readers see, of its draft or of its sinks.

        It never ends: leave the loop with `break`.
        """
        async for found in (await self._services.watch.dataset(name)).states():
            yield found

    async def publish(
        self,
        name: str,
        *executions: Name,
        base: Name | None = None,
        add: Sequence[Name] = (),
        on_failure: OnFailure | None = None,
        skip_superseded: bool = False,
        allow: Sequence[Allowed] = (),
        expect_seq: int | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> Publication:
        """Make the results of runs and replays what readers see, and return when they do.

        Args:
            executions: settled executions. A run replaces the publication; a replay replaces the results
                below the objects that it has sent.
            base: the run that defines the inputs, if there are several.
            add: runs that only add inputs.
            on_failure: what happens to a document whose processing failed; None: as the config says.
            skip_superseded: leave out objects whose documents have changed since.
            allow: what is not refused: `incomplete`, `removed`, `older`, `empty`.
            expect_seq: refuse unless this is the number of the newest switch.
            reason: why; shown in the history.
            key: your own key: a repeated call with the same key and arguments begins no second publication.
        """
        request = await self._publish_request(
            executions,
            base,
            add,
            on_failure=on_failure,
            skip_superseded=skip_superseded,
            allow=list(allow),
            expect_seq=expect_seq,
            reason=reason,
        )
        return await self._services.publish.publish(name, request, key=key)

    async def preview(
        self, name: str, /, *executions: Name, base: Name | None = None, add: Sequence[Name] = (), **how: Any
    ) -> PublicationPreview:
        """Return what `publish` with the same arguments would change. Stores nothing."""
        request = await self._publish_request(executions, base, add, **how)
        return await self._services.publish.preview(name, request)

    async def _publish_request(
        self, executions: Sequence[Name], base: Name | None, add: Sequence[Name], **how: Any
    ) -> PublishRequest:
        return PublishRequest(
            executions=[await self._execution(one) for one in executions],
            base=None if base is None else await self._execution(base),
            add=[await self._execution(one) for one in add],
            **how,
        )

    async def publications(
        self, name: str, *, every: bool = False, limit: int | None = None
    ) -> list[Publication]:
        """Return publications, newest first; with `every`, also abandoned and dropped ones."""
        return await self._collect(partial(self._services.publish.publications, name, every=every), limit)

    async def publication(self, name: str, n: int | None = None) -> Publication:
        """Return a publication; without a number, the current one."""
        return await self._services.publish.publication(name, n)

    async def publication_notes(
        self, name: str, n: int | None = None, kind: NoteKind | None = None, *, limit: int | None = None
    ) -> list[PublicationNote]:
        """Return the documents and replayed objects whose new results a publication does not have."""
        return await self._collect(partial(self._services.publish.notes, name, n, kind), limit)

    async def publication_code(
        self, name: str, n: int | None = None, *, limit: int | None = None
    ) -> list[CodeResults]:
        """Return what made the results of a publication, by route and code; without a number, of the current
        one."""
        return await self._collect(partial(self._services.publish.code, name, n), limit)

    async def stale_results(
        self,
        name: str,
        n: int | None = None,
        *,
        route: str | None = None,
        from_stage: str | None = None,
        limit: int | None = None,
    ) -> list[StaleResult]:
        """Return the results of a publication that are not of the newest code and config.

        Args:
            n: a number; None: the current publication.
            route: only results of this route.
            from_stage: only results of routes that have received objects of this stage.
            limit: the largest number of results; None: all.

        Raises:
            Conflict: `code_unknown`: this process, or the server, has not loaded an adapter of a route.
        """
        find = partial(self._services.publish.stale, name, n, route, from_stage)
        return await self._collect(find, limit)

    async def cancel_publication(self, name: str) -> Publication:
        """Abandon the publication that is being prepared."""
        return await self._services.publish.cancel(name)

    async def pin_publication(self, name: str, n: int, pinned: bool = True) -> Publication:
        """Keep a publication until it is unpinned, or end that."""
        return await self._services.publish.pin(name, n, pinned)

    async def rollback(
        self, name: str, to: int | None = None, *, expect_seq: int | None = None, reason: str | None = None
    ) -> Dataset:
        """Show readers an earlier publication again; without a number, the one that was before."""
        return await self._services.publish.roll_back(name, to, expect_seq, reason)

    async def check_index(self, name: str, route: str | None = None, *, repair: bool = False) -> Dataset:
        """Compare indexes and tables with what is published; `sinks` of the result has the differences.

        With `repair`, those that differ are rebuilt, and lost rows are written again by a replay, which is
        then published. Workers do it, so this may return before the end: then `is_checked` of a sink, or
        `is_open` of its `repair`, is true.
        """
        return await self._services.publish.check(name, route, repair=repair)

    async def forget(self, name: str, route: str) -> Dataset:
        """Undo what was declared about the results of a route with `others_valid` of a replay.

        They are stale again, and the next runs with `changed_since` process them.

        Raises:
            NotFound: `route_not_found`: no result of the route is declared valid.
        """
        return await self._services.publish.forget(name, route)

    async def release(self, name: str) -> Dataset:
        """End the hold of automatic publication."""
        return await self._services.publish.release(name)

    async def dataset_deliveries(self, name: str, *, limit: int | None = None) -> list[WebhookDelivery]:
        """Return the events for the webhook of a dataset, newest first: 100, and all that are due."""
        return await self._collect(partial(self._services.webhooks.list_of_dataset, name), limit)

    async def send_dataset_delivery(self, name: str, delivery: UUID) -> WebhookDelivery:
        """Send an event for the webhook of a dataset again, under the same id.

        Args:
            delivery: the id of one of `dataset_deliveries`.
        """
        return await self._services.webhooks.send_again_of_dataset(name, delivery)

    async def changes(
        self,
        name: str,
        since: int,
        until: int | None = None,
        *,
        stage: str | None = None,
        limit: int | None = None,
    ) -> list[DatasetChange]:
        """Return the objects that differ between two publications, by stage and path.

        Args:
            since: a number; 0: before the first publication. It may be the later one.
            until: a number; None: the current publication.
            stage: only objects of this stage.
            limit: the largest number of changes; None: all.
        """
        return await self._collect(partial(self._services.publish.changes, name, since, until, stage), limit)
