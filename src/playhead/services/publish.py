"""Publish: make the results of runs and replays what readers see, and go back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from playhead import acting, events, faults
from playhead.environment import Environment
from playhead.errors import Conflict, NotFound
from playhead.model import (
    DAY,
    OPEN_PUBLICATION_STATES,
    Dataset,
    Publication,
    PublicationPreview,
    PublishRequest,
)
from playhead.model.datasets import NOT_IN_BODY
from playhead.ports.catalog.drafts import Draft
from playhead.ports.catalog.jobs import Key
from playhead.publish.drafting import DraftCatalog, Drafting
from playhead.publish.preview import preview
from playhead.reading.datasets import check_readable, no_draft
from playhead.reading.idempotency import key_of
from playhead.reading.newestcode import NewestCode
from playhead.reading.publications import PublicationReader

_MOST_NOTES: Final = 100
_WAIT_SECONDS: Final = 0.2
_LATER: Final = ("publication_in_progress", "publication_moved", "execution_running")
"""Codes with which an automatic publication is not refused for good."""


Tried = tuple[Dataset, Publication | Conflict | None]
"""A dataset, and the publication of a run in it, or its refusal; None: the dataset is held."""


Begin = Callable[[str, PublishRequest], Awaitable[Publication]]
PublishRepairs = Callable[[Begin], Awaitable[None]]
"""Publishes replays that have written lost rows again; see `RepairService.publish_due`."""


class PublishService(PublicationReader):
    """Publishes, rolls back, and lists publications.

    A dataset is named `NAME`, or `CONFIG/NAME` if several configs have the name. Every method raises
    `Unavailable` if the catalog is unavailable, `NotFound` (`dataset_not_found`), and `BadRequest`
    (`dataset_ambiguous`).

    Args:
        key_seconds: how long an Idempotency-Key is kept at least.

    Attributes:
        drafts: those that this process prepares.
    """

    def __init__(
        self,
        catalog: DraftCatalog,
        env: Environment,
        drafts: Drafting,
        newest: NewestCode,
        publish_repairs: PublishRepairs,
        *,
        key_seconds: float = DAY,
    ) -> None:
        super().__init__(catalog, newest)
        self._catalog: DraftCatalog = catalog
        self._key_seconds = key_seconds
        self._env = env
        self.drafts = drafts
        self._publish_repairs = publish_repairs

    async def preview(self, name: str, request: PublishRequest) -> PublicationPreview:
        """Return what a publication would change now. Stores nothing.

        Raises what `publish` raises.
        """
        dataset = await self.dataset(name)
        draft = await self._catalog.preview_publication(dataset.config, dataset.name, request)

        async def keep() -> None:
            await self._env.sleep(0)

        return await preview(self._catalog, draft, keep, expect_seq=dataset.seq)

    async def publish(
        self,
        name: str,
        request: PublishRequest,
        begun: Callable[[Publication], None] = lambda made: None,
        *,
        key: str | None = None,
    ) -> Publication:
        """Publish, and return when readers see it. `begun` is called when the draft is recorded.

        Args:
            key: Idempotency-Key: the same request with the same key returns the first publication.

        Raises:
            BadRequest: `invalid_idempotency_key`.
            NotFound: `execution_not_found`, `records_deleted`.
            Conflict: `publication_in_progress`, `publication_moved`, `execution_running`,
                `execution_changed`, `execution_pruned`, `source_superseded`, `source_not_published`,
                `older_results`, `not_a_base`, `units_failed`, `publication_incomplete`,
                `publication_shrinks`, `publication_empty`, `path_conflict`, `nothing_published`,
                `sink_rows_missing`, `sink_behind`, `idempotency_key_reused`.
        """
        draft, made = await self._begin(name, request, key)
        begun(made)
        if draft:
            await self.drafts.drive(draft)
        return await self._wait(await self._number(name), made.n)

    async def begin(self, name: str, request: PublishRequest, *, key: str | None = None) -> Publication:
        """Record a draft, and prepare it in the background. Any process continues it.

        Raises what `publish` raises, except what is found only in the content.
        """
        draft, made = await self._begin(name, request, key)
        if draft:
            self.drafts.drive_later(draft)
        return made

    async def begin_once(
        self,
        name: str,
        key: str,
        body: Mapping[str, Any],
        request: Callable[[], Awaitable[PublishRequest]],
    ) -> tuple[Publication, bool]:
        """Do the same, unless an earlier call with this key has; return also whether this call has begun it.

        Args:
            body: the request as it was sent. A repeated request has the same body, although `latest` may be
                another execution by then.
            request: returns what the body means.

        Raises what `begin` raises, `BadRequest` (`invalid_idempotency_key`), and `Conflict`
        (`idempotency_key_reused`).
        """
        given = key_of("publication", key, {"dataset": name, **body}, self._key_seconds)
        draft, made = await self._begin_once(name, given, request)
        if draft:
            self.drafts.drive_later(draft)
        return made, draft is not None

    async def _begin(
        self, name: str, request: PublishRequest, key: str | None
    ) -> tuple[Draft | None, Publication]:
        """Record a draft; None, and the first publication, if an earlier request had the key."""

        async def known() -> PublishRequest:
            return request

        if key is None:
            return await self._begin_once(name, None, known)
        # The body of the same request over HTTP, so that a key means the same there.
        body = {one: value for one, value in asdict(request).items() if one not in NOT_IN_BODY}
        body |= {"dataset": name, "dry_run": False}
        return await self._begin_once(name, key_of("publication", key, body, self._key_seconds), known)

    async def _begin_once(
        self, name: str, key: Key | None, request: Callable[[], Awaitable[PublishRequest]]
    ) -> tuple[Draft | None, Publication]:
        # Before all other checks: the executions may be gone when a request is repeated.
        if key and (first := await self._catalog.keyed(key)) and (found := await self.of_execution(first)):
            return None, found
        dataset = await self.dataset(name)
        begun = await self.drafts.begin(dataset.config, dataset.name, await request(), key)
        return (None, begun) if isinstance(begun, Publication) else (begun, await self._made(begun))

    async def _made(self, draft: Draft) -> Publication:
        made = await self._catalog.publication(draft.dataset, draft.n)
        assert made
        return made

    async def _wait(self, dataset: int, n: int) -> Publication:
        """Return a publication when it is decided or abandoned. Raises its refusal.

        If the process that prepares it has died, this one continues. The sinks that this process can write
        follow it for some seconds.
        """
        while True:
            found = await self._catalog.publication(dataset, n)
            assert found
            if found.refusal:
                raise Conflict(found.refusal.code, found.refusal.detail)
            if found.state == "abandoned":
                raise Conflict("publication_cancelled", f"publication {n} of {found.dataset} was cancelled")
            if found.state not in OPEN_PUBLICATION_STATES:
                await self.drafts.follow()
                return (await self._newest.counted(dataset, [found]))[0]
            await self.drafts.drive_due()
            await self._env.sleep(_WAIT_SECONDS)

    async def publish_automatic(self) -> None:
        """Begin to publish replays that were requested with their publication, and the newest run of each
        dataset with `publish: automatic`, unless it is held."""
        for name, request in await self._due():
            with self._automatically(name):
                await self.begin(name, request)

    async def finish_automatic(self) -> None:
        """Do the same, and return when they are published or refused: this process may be the last one."""
        for name, request in await self._due():
            with self._automatically(name):
                await self.publish(name, request)
        # Another task, or another process, may have begun to publish them.
        for dataset in await self.datasets():
            if dataset.draft:
                name = f"{dataset.config}/{dataset.name}"
                with self._automatically(name):
                    await self._wait(await self._number(name), dataset.draft.n)
        # One that was decided before it was found here may have sinks that do not show it yet.
        await self.drafts.follow()

    async def _due(self) -> list[tuple[str, PublishRequest]]:
        replays = [
            (f"{config}/{name}", PublishRequest([one], on_failure="refuse", reason=reason, automatic=True))
            for config, name, one, reason in await self._catalog.replays_to_publish()
        ]
        runs = [
            (f"{config}/{name}", PublishRequest([run], automatic=True))
            for config, name, run in await self._catalog.automatic_runs()
        ]
        return replays + runs

    @contextmanager
    def _automatically(self, name: str) -> Iterator[None]:
        """Act for this process, and log a refusal."""
        try:
            with acting.acting(acting.process(self._env.process)):
                yield
        except (Conflict, NotFound) as exc:
            if exc.code not in _LATER:
                faults.reach("publication.refused")
                events.emit(events.PUBLICATION_REFUSED, dataset=name.partition("/")[2], detail=exc.detail)

    async def publish_repaired(self) -> None:
        """Begin to publish settled replays that have written lost rows of a sink again."""
        await self._publish_repairs(self.begin)

    async def publish_run(self, run: UUID, config: str) -> list[Tried]:
        """Publish a run in the datasets of its config with `publish: automatic`.

        Returns the publications, and why others were refused; None for a dataset that is held. If another
        process publishes the run, waits for its publication.
        """
        found: list[Tried] = []
        for dataset in await self.datasets_of(config):
            if dataset.publish == "automatic" and dataset.held:
                found.append((dataset, None))
            elif dataset.publish == "automatic":
                name = f"{dataset.config}/{dataset.name}"
                try:
                    made = await self._publish_run(name, run)
                except Conflict as exc:
                    found.append((dataset, exc))
                else:
                    found.append((dataset, made))
        return found

    async def _publish_run(self, name: str, run: UUID) -> Publication:
        try:
            return await self.publish(name, PublishRequest([run], automatic=True))
        except Conflict as exc:
            for one in (await self.publications(name, limit=_MOST_NOTES, every=True)).items:
                if run in [part.execution_id for part in one.parts]:
                    return await self._wait(await self._number(name), one.n)
            raise exc

    async def follow(self) -> None:
        """Bring the sinks that this process can write up to date, and publish what repairs have written."""
        await self.drafts.follow()
        await self.publish_repaired()

    async def check(self, name: str, route: str | None = None, *, repair: bool = False) -> Dataset:
        """Have the sinks of a dataset compared with what is published; `SinkState.check` has the result.

        Args:
            route: of one sink; None: all.
            repair: rebuild a sink that differs. Readers see what they see now until all of it is there. Lost
                rows are written again by a replay of exactly these results, which is then published.

        Raises:
            NotFound: `route_not_found`: no sink of the dataset has this route.
        """
        if not await self._catalog.check_sinks(await self._number(name), route=route, repair=repair):
            there = ", ".join(one.route for one in (await self.dataset(name)).sinks) or "none"
            which = f"no sink {route!r}" if route else "no sink"
            raise NotFound("route_not_found", f"dataset {name} has {which}; its sinks: {there}")
        if repair:
            faults.reach("repair.asked")
        await self.drafts.follow()
        return await self.dataset(name)

    async def cancel(self, name: str) -> Publication:
        """Abandon the draft of a dataset.

        Raises:
            NotFound: `publication_not_found`; there is no draft.
        """
        dataset = await self.dataset(name)
        if dataset.draft is None:
            raise no_draft(name)
        number = await self._number(name)
        await self._catalog.abandon_draft(number, dataset.draft.n)
        found = await self._catalog.publication(number, dataset.draft.n)
        assert found
        return found

    # -- afterwards --------------------------------------------------------------------------------

    async def roll_back(
        self, name: str, to: int | None = None, expect_seq: int | None = None, reason: str | None = None
    ) -> Dataset:
        """Make an earlier publication current again; without a number, the one that was before.

        Automatic publication is held until a person publishes or releases.

        Raises:
            NotFound: `publication_not_found`, `publication_dropped`.
            Conflict: `publication_moved`, `nothing_published`.
        """
        number = await self._number(name)
        n = await self._catalog.roll_back(number, to=to, expect_seq=expect_seq, reason=reason)
        faults.reach("publication.rolled_back")
        events.emit(events.PUBLICATION_ROLLED_BACK, dataset=name, publication=n)
        await self.drafts.follow()
        return await self.dataset(name)

    async def release(self, name: str) -> Dataset:
        """End the hold of automatic publication. Idempotent."""
        await self._catalog.release_dataset(await self._number(name))
        return await self.dataset(name)

    async def forget(self, name: str, route: str) -> Dataset:
        """Undo what was declared about the results of a route. The next runs process them.

        Raises:
            NotFound: `route_not_found`: no result of the route is declared valid.
        """
        number = await self._number(name)
        if not await self._catalog.undo_declarations(number, route):
            there = await self.dataset(name)
            routes = ", ".join(dict.fromkeys(one.route for one in there.declared_valid)) or "none"
            raise NotFound(
                "route_not_found",
                f"no results of the route {route!r} are declared valid in {name}; routes with such results: "
                f"{routes}",
            )
        return await self.dataset(name)

    async def pin(self, name: str, n: int, pinned: bool = True) -> Publication:
        """Keep a publication until it is unpinned, or end that. Idempotent.

        Raises:
            NotFound: `publication_not_found`, `publication_dropped`.
        """
        await self._catalog.pin_publication(await self._number(name), n, pinned)
        return check_readable(await self.dataset(name), await self.publication(name, n), n)
