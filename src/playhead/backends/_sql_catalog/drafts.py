"""Drafts: how one begins, which process holds it, and how it ends.

`begin` and each decision lock the dataset, then the executions, so no two transactions wait for each other.
What a decision depends on is read after the locks.
"""

from __future__ import annotations

import json
from typing import NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog import publishing
from playhead.backends._sql_catalog.candidates import (
    Candidate,
    candidates,
    check_part,
    check_whole,
    roles_of,
    to_lock,
    with_added,
)
from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.continued import continued_by
from playhead.backends._sql_catalog.draft_edges import edges_of
from playhead.backends._sql_catalog.executions import share
from playhead.backends._sql_catalog.idempotency import keep_key
from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.prepared import Prepared, nothing
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict, NotFound
from playhead.ids import uuid7
from playhead.keys import INPUT_STAGE
from playhead.model import Config, DatasetConfig, PartRole, Publication, PublishRequest
from playhead.ports.catalog.drafts import Continued, Draft, DraftPart, Edge
from playhead.ports.catalog.jobs import Key


class _Hold(NamedTuple):
    """The id of the execution that a draft becomes, and the process that holds it for a time."""

    execution: UUID
    owner: str
    lease: float
    requested_by: str | None


class DraftsPart(Part):
    async def begin_publication(
        self,
        config: str,
        name: str,
        request: PublishRequest,
        *,
        owner: str,
        lease: float,
        key: Key | None = None,
    ) -> Draft | Publication:
        change = Change("publication.publish")
        change.check_configs([config])
        hold = _Hold(uuid7(), owner, lease, change.requested_by)
        refused: list[Conflict | NotFound] = []

        async def begin(db: Session) -> Draft | Publication | None:
            refused.clear()
            if key and (first := await keep_key(db, key, hold.execution)) != hold.execution:
                return await publishing.publication_of(db, first)
            dataset = await publishing.find_dataset(db, config, name)
            row = await publishing.lock_dataset(db, dataset)
            await self._check_free(db, row, request)
            await share(db, to_lock(await candidates(db, request.parts)))
            try:
                made = await self._prepare(db, row, request)
            except (Conflict, NotFound) as exc:
                if not request.automatic or exc.code == "execution_running":
                    raise
                # No person gets this error, so it is recorded, once for each end of the execution.
                parts = await candidates(db, request.parts)
                n = await self._insert(db, dataset, nothing(row, parts, request), hold)
                await publishing.abandon(db, dataset, n, exc.code, exc.detail)
                refused.append(exc)
                return None
            n = await self._insert(db, dataset, made, hold)
            await change.record(
                db,
                execution=await db.value(SQL.execution_number, id=hold.execution),
                object=f"{config}/{name}",
                reason=request.reason,
                detail={"publication": n, "parts": request.parts},
            )
            return await self._draft(db, dataset, (config, name), n, 1, made, "")

        draft = await change.write(self._db, begin)
        if draft is None:
            raise refused[0]
        return draft

    async def _insert(self, db: Session, dataset: int, made: Prepared, hold: _Hold) -> int:
        """Insert a draft with its parts, and return its number."""
        n: int = await db.value(SQL.newest_number, dataset=dataset) + 1
        execution = await db.value(
            SQL.insert_publication_execution,
            id=hold.execution,
            config=made.parts[0][0].config,
            version=made.config_version,
            parent=None,
            requested_by=hold.requested_by,
        )
        await db.run(
            SQL.insert_publication,
            dataset=dataset,
            n=n,
            execution=execution,
            version=made.config_version,
            base=made.base,
            base_run=made.base_run,
            seq=made.seq,
            request=publishing.encode_request(made.request),
            edges=json.dumps(made.edges),
            other_edges=made.has_other_edges,
            owner=hold.owner,
            lease=hold.lease,
        )
        await db.insert(
            SQL.insert_parts,
            [
                (dataset, n, place, part.n, role, part.revision)
                for place, (part, role) in enumerate(made.parts)
            ],
        )
        await db.run(SQL.set_draft, dataset=dataset, n=n)
        executions = [part.n for part, _ in made.parts]
        await db.run(SQL.tried_replay_publications, dataset=dataset, executions=executions)
        return n

    async def preview_publication(self, config: str, name: str, request: PublishRequest) -> Draft:
        async def look(db: Session) -> Draft:
            dataset = await publishing.find_dataset(db, config, name)
            row = (await db.rows(SQL.datasets, name=name, config=config))[0]
            made = await self._prepare(db, row, request)
            return await self._draft(db, dataset, (config, name), 0, 0, made, "")

        return await self._db.read(look)

    async def _check_free(self, db: Session, row: Row, request: PublishRequest) -> None:
        dataset, _, name, seq, current, _, draft, *_ = row
        if draft is not None:
            found = await publishing.publication(db, dataset, draft)
            assert found
            raise Conflict(
                "publication_in_progress",
                f"publication {draft} of {name} is {found.state}. Wait for its end, or run: "
                f"playhead publications cancel {name}",
            )
        if request.automatic and (
            await self._is_held(db, row, request) or await self._is_tried(db, dataset, request)
        ):
            raise Conflict("publication_moved", f"{name} is held, or another process has published it")
        if request.expect_seq not in (None, seq):
            raise publishing.moved(row[1], name, seq, request.expect_seq or 0, current)

    async def _is_held(self, db: Session, row: Row, request: PublishRequest) -> bool:
        """Whether a rollback holds an automatic publication. It does not hold a replay that was requested
        afterwards, with its publication."""
        held, since = row[7:9]
        return held and not await db.value(SQL.is_after_switch, execution=request.parts[0], at=since)

    async def _is_tried(self, db: Session, dataset: int, request: PublishRequest) -> bool:
        [run] = request.parts
        return bool(await db.value(SQL.is_tried, dataset=dataset, execution=run))

    # -- what a draft will be ----------------------------------------------------------------------

    async def _prepare(self, db: Session, row: Row, request: PublishRequest) -> Prepared:
        dataset, config, name, seq, current, *_, document = row
        newest = Config.from_document(json.loads(document))
        declared = newest.datasets.get(name)
        if declared is None:
            raise NotFound(
                "dataset_not_found",
                f"the newest version of config {config} does not declare the dataset {name!r} any more",
            )
        found = await candidates(db, request.parts)
        if missing := set(request.parts) - {one.id for one in found}:
            raise NotFound(
                "execution_not_found",
                f"execution {min(missing)} is not in the catalog. Run: playhead executions",
            )
        number = await db.value(SQL.config_number, name=config)
        for one in found:
            await check_part(db, one, config, number)
            if request.automatic:
                check_whole(one)
        request = with_added(request, found, declared)
        before = await db.row(SQL.base_of_draft, dataset=dataset, n=current or 0)
        parts = await roles_of(db, found, request, declared, config, is_first=before is None)
        base_run = before[0] if before else None
        base = next((one for one, role in parts if role == "base"), None)
        if base and base_run is not None and base.n < base_run and "older" not in request.allow:
            raise Conflict(
                "older_results",
                f"{base} is older than the run that dataset {name} shows now. To publish it all the same: "
                "--allow-older",
            )
        versions = {one.config_version: one.version for one in found}
        if before:
            versions[before[1]] = before[2]
        version = max(versions, key=lambda one: versions[one])
        documents = {one: json.loads(await db.value(SQL.version_document, id=one)) for one in versions}
        edges, has_other_edges = edges_of(
            declared,
            version,
            {one: Config.from_document(document) for one, document in documents.items()},
            await self._received(db, base.n if base else base_run),
            [(one.stage, one.route) for one, _ in parts if one.is_foreign and one.id in request.add],
            (before[1], [tuple(edge) for edge in json.loads(before[3])]) if before else None,
            has_base=base is not None,
        )
        return Prepared(
            request=request,
            parts=parts,
            config_version=version,
            edges=edges,
            has_other_edges=has_other_edges,
            base=current or 0,
            base_run=base.n if base else base_run,
            seq=seq,
            declared=declared,
        )

    async def _received(self, db: Session, base: int | None) -> tuple[str, str] | None:
        """Return which stage went into which route, if the base is a replay."""
        row = await db.row(SQL.received_by_base, execution=base)
        return (row[0], row[1]) if row else None

    # -- which process holds it --------------------------------------------------------------------

    async def _draft(
        self,
        db: Session,
        dataset: int,
        names: tuple[str, str],
        n: int,
        epoch: int,
        made: Prepared,
        cursor: str,
    ) -> Draft:
        before = await db.row(SQL.stage_counts_of, dataset=dataset, n=made.base)
        counts = json.loads(before[0]) if before else {}
        parts = [await self._part(db, *one, made.request) for one in made.parts]
        found: list[Candidate] = []
        if len(parts) == 1 and before and not made.has_other_edges:
            found = await continued_by(db, dataset, made.base, parts[0])
        if found:
            run, *layers = [await self._part(db, one, "layer", made.request) for one in found]
            parts[0] = parts[0]._replace(continues=Continued(run.execution, layers))
        return Draft(
            dataset=dataset,
            config=names[0],
            name=names[1],
            n=n,
            epoch=epoch,
            base=made.base,
            parts=parts,
            edges=frozenset(Edge(*edge) for edge in made.edges),
            has_other_edges=made.has_other_edges,
            request=made.request,
            on_failure=made.request.on_failure or made.declared.on_failure,
            max_failed=made.declared.max_failed if made.request.automatic else None,
            max_removed=made.declared.max_removed,
            cursor=cursor,
            counts={stage: one["total"] for stage, one in counts.items()},
            digest=int(before[1] or "0", 16) if before else 0,
        )

    async def _part(self, db: Session, one: Candidate, role: PartRole, request: PublishRequest) -> DraftPart:
        messages = sum(count for _, _, count in json.loads(one.counts or "[]"))
        publication = None
        if not one.is_run:
            row = await db.row(SQL.publication_source, source=one.source)
            publication = (row[0], row[1]) if row else None
        return DraftPart(
            execution=one.n,
            id=one.id,
            role=role,
            is_run=one.is_run,
            route=one.route,
            stage=INPUT_STAGE if one.is_run else one.stage,
            source=one.source or one.id,
            publication=publication,
            size=max(messages / one.ordinals, 1.0) if one.ordinals else 1.0,
            is_foreign=one.is_foreign,
            adds_inputs=one.is_foreign and role == "layer" and one.id in request.add,
        )

    async def open_drafts(self) -> list[tuple[int, int]]:
        return [(dataset, n) for dataset, n in await self._db.rows(SQL.free_drafts)]

    async def acquire_draft(self, dataset: int, n: int, *, owner: str, lease: float) -> Draft | None:
        async def acquire(db: Session) -> Draft | None:
            if not await db.run(SQL.acquire_draft, dataset=dataset, n=n, owner=owner, lease=lease):
                return None
            row = await db.row(SQL.draft_row, dataset=dataset, n=n)
            assert row
            _, name, config, _, epoch, base, edges, stored, cursor, has_other, version, document = row
            declared = Config.from_document(json.loads(document)).datasets.get(name)
            ids = await db.rows(SQL.part_rows, dataset=dataset, n=n)
            found = {one.n: one for one in await candidates(db, [as_uuid(one) for _, one, _ in ids])}
            made = Prepared(
                request=publishing.decode_request(stored),
                parts=[(found[number], role) for number, _, role in ids],
                config_version=version,
                edges=[tuple(edge) for edge in json.loads(edges)],
                has_other_edges=bool(has_other),
                base=base,
                base_run=None,
                seq=0,
                declared=declared or DatasetConfig(name, ()),
            )
            return await self._draft(db, dataset, (config, name), n, epoch, made, cursor)

        return await self._db.write(acquire)

    async def renew_draft(self, draft: Draft, *, lease: float) -> bool:
        given = {"dataset": draft.dataset, "n": draft.n, "epoch": draft.epoch}
        return await self._db.run(SQL.renew_draft, lease=lease, **given) > 0

    async def release_draft(self, draft: Draft) -> None:
        await self._db.run(SQL.release_draft, dataset=draft.dataset, n=draft.n, epoch=draft.epoch)

    # -- how it ends -------------------------------------------------------------------------------

    async def decide_draft(self, draft: Draft) -> Publication:
        moved: list[Conflict] = []

        async def switch(db: Session) -> Publication:
            moved.clear()
            _, _, name, seq, current, _, _, held, *_ = await publishing.lock_dataset(db, draft.dataset)
            row = await db.row(SQL.decision_row, dataset=draft.dataset, n=draft.n)
            assert row
            state, expected = row
            if state == "prepared" and seq != expected:
                why = Conflict(
                    "publication_moved",
                    f"publication {current} of {name} became current while {draft.n} was prepared on "
                    f"{draft.base or 'nothing'}. Publish again",
                )
                await publishing.abandon(db, draft.dataset, draft.n, why.code, why.detail)
                moved.append(why)
            elif state == "prepared":
                reason = draft.request.reason
                given = {"dataset": draft.dataset, "n": draft.n, "seq": seq + 1}
                await db.run(SQL.insert_switch, kind="publish", reason=reason, **given)
                stays_held = bool(held) and draft.request.keeps_hold
                await db.run(SQL.set_current, held=stays_held, **given)
                await db.run(SQL.set_published, dataset=draft.dataset, n=draft.n)
                await db.run(
                    SQL.end_publication_execution, dataset=draft.dataset, n=draft.n, status="completed"
                )
                await publishing.record_event(db, draft.dataset, "dataset.published")
            found = await publishing.publication(db, draft.dataset, draft.n)
            assert found
            return found

        decided = await self._db.write(switch)
        if moved:
            raise moved[0]
        return decided

    async def abandon_draft(
        self, dataset: int, n: int, *, code: str | None = None, detail: str | None = None
    ) -> None:
        change = Change("publication.cancel")

        async def abandon(db: Session) -> None:
            about = await publishing.audited(db, dataset)
            change.check_configs([about["config"]])
            is_abandoned = await publishing.abandon(db, dataset, n, code, detail)
            if is_abandoned and code is None:
                await change.record(db, **about, detail={"publication": n})

        await change.write(self._db, abandon)
