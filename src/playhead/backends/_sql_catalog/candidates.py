"""The executions that a draft may take results from, and their roles.

The base defines the inputs. It is a run, or, if the config has no runs, a replay of a whole stage of another
config, whose objects are then the inputs. A replay of such a stage may also add its objects to the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog import requests
from playhead.backends._sql_catalog.executions import prunings_of
from playhead.backends._sql_catalog.lanes import as_uuid, as_uuid_or_none
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict, NotFound
from playhead.ids import moment
from playhead.model import DatasetConfig, PartRole, PublishRequest, Selection


class Candidate(NamedTuple):
    """An execution that a request names, with the columns of `executions_for_parts`."""

    n: int
    id: UUID
    kind: str
    status: str
    settled: bool
    config: int | None
    config_version: int
    revision: int
    source: UUID | None
    stage: str
    route: str
    ordinals: int | None
    counts: str | None
    listing_state: str
    error_code: str
    version: int
    records_deleted_at: float | None
    path: str | None
    request: str | None
    source_n: int | None
    source_kind: str
    source_config: int | None

    @property
    def is_run(self) -> bool:
        return self.kind == "run"

    @property
    def is_foreign(self) -> bool:
        """Whether its objects do not belong to its config."""
        return not self.is_run and self.source_config != self.config

    @property
    def is_whole(self) -> bool:
        """Whether a replay has all objects of its stage."""
        chosen = requests.decode(self.request).selection if self.request else None
        return self.path is None and chosen in (None, Selection())

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


async def candidates(db: Session, executions: Sequence[UUID]) -> list[Candidate]:
    rows = await db.rows(SQL.executions_for_parts, ids=list(executions))
    found = [Candidate._make(row) for row in rows]
    return [one._replace(id=as_uuid(one.id), source=as_uuid_or_none(one.source)) for one in found]


def to_lock(found: Sequence[Candidate]) -> list[int]:
    """Return the numbers of candidates, and of the executions whose objects they have received."""
    return [n for one in found for n in (one.n, one.source_n) if n is not None]


async def check_part(db: Session, one: Candidate, config: str, number: int) -> None:
    """Check that an execution can be a part. Raises `Conflict` and `NotFound`."""
    if one.kind not in ("run", "replay"):
        what = (
            "another program stored its objects, and may change or delete them. Copy them by a replay into "
            f"another config, replay the copy into {config}, and publish that replay"
            if one.kind == "adopted"
            else "it is a publication"
        )
        raise Conflict("not_a_base", f"execution {one.id} cannot be published: {what}")
    if one.config != number:
        raise Conflict("not_a_base", f"{one} belongs to another config than {config}")
    if not one.settled:
        state = "is running" if one.status == "running" else "has open messages"
        raise Conflict("execution_running", f"{one} {state}. Wait for its end, resume it, or cancel it")
    if one.records_deleted_at is not None:
        raise NotFound(
            "records_deleted",
            f"the records of {one} were deleted on {moment(one.records_deleted_at)}, so its results "
            "are not known",
        )
    if gone := (await prunings_of(db, [one.n]))[one.n]:
        raise Conflict(
            "execution_pruned",
            f"objects of {one} were pruned on {gone[0].pruned_at}, so it cannot be published",
        )


def check_whole(one: Candidate) -> None:
    """Refuse a replay that has not sent all of its objects: results are missing, though no message failed."""
    if not one.is_run and (one.status == "cancelled" or one.listing_state != "completed"):
        raise Conflict("units_failed", f"{one} ended before all of its objects were sent")


async def roles_of(
    db: Session,
    found: Sequence[Candidate],
    request: PublishRequest,
    declared: DatasetConfig,
    config: str,
    *,
    is_first: bool,
) -> list[tuple[Candidate, PartRole]]:
    """Return the parts in the order in which they are applied: the base, then the layers by their age.

    Args:
        is_first: the dataset has no current publication.

    Raises:
        Conflict: `not_a_base`, `nothing_published`, `execution_pruned`, `publication_dropped`.
    """
    has_runs = bool(await db.value(SQL.has_runs, config=found[0].config))
    is_complete = declared.runs == "complete"
    adds = [one for one in found if one.id in request.add and one.id != request.base]
    bases = [one for one in found if one.is_run and one.id not in request.add and is_complete]
    has_inputs = any(one.is_run for one in found) or any(one.is_foreign for one in adds)
    if is_first and is_complete and not has_inputs:
        bases = [one for one in found if _why_no_base(one, config, has_runs=has_runs) is None]
    if request.base is not None:
        bases = [one for one in found if one.id == request.base]
    if len(bases) > 1:
        raise Conflict(
            "not_a_base",
            f"{len(bases)} {bases[0].kind}s are named, and one defines the inputs: name it with --base"
            + (", and the others with --add" if bases[0].is_run else ""),
        )
    base = bases[0] if bases else None
    if base is None and is_first and is_complete and not has_inputs:
        first = found[0]
        if first.is_foreign:
            why = _why_no_base(first, config, has_runs=has_runs)
            raise Conflict("not_a_base", f"{first} cannot be the base of {declared.name}: {why}")
        raise Conflict(
            "nothing_published",
            f"dataset {declared.name} has no current publication, and {first} replaces only a part of one. "
            f"Publish its source with it: playhead publish {declared.name} {first.source} {first.id}",
        )
    if base:
        if why := _why_no_base(base, config, has_runs=has_runs):
            raise Conflict("not_a_base", f"{base} cannot be the base of {declared.name}: {why}")
        if not base.is_run:
            await _check_source(db, base)
    for one in adds:
        if one.is_foreign:
            if why := _why_no_source(one, config):
                raise Conflict("not_a_base", f"{one} cannot add inputs to {declared.name}: {why}")
            await _check_source(db, one)
    layers = [(one, "layer") for one in found if one is not base]
    return [*([(base, "base")] if base else []), *layers]  # type: ignore[list-item]


def _why_no_base(one: Candidate, config: str, *, has_runs: bool) -> str | None:
    """Return why an execution does not define the inputs; None if it does."""
    is_listed = one.listing_state == "completed" and not one.error_code
    if one.is_run:
        return None if is_listed else "its inputs are not known"
    if not one.is_foreign:
        return "it does not define the inputs"
    if has_runs:
        return f"{config} has runs, and these define the inputs"
    if why := _why_no_source(one, config):
        return why
    if not one.is_whole:
        return f"it has only a part of the stage {one.stage} of its source"
    return None if is_listed else f"the stage {one.stage} of its source was not listed to its end"


def _why_no_source(one: Candidate, config: str) -> str | None:
    """Return why the objects that a replay has received cannot be inputs; None if they can."""
    if one.source_kind != "adopted":
        return None
    return (
        "another program stored the objects of its source, and may change or delete them. Copy them: "
        "apply a config copy with a route keep that has the adapter passthrough and the stage "
        f"{one.stage}, and run: playhead replay {one.source} {one.stage} copy/keep. When it has ended, "
        f"run: playhead replay latest:replay {one.stage} {config}/{one.route}, and publish that replay"
    )


def with_added(
    request: PublishRequest, found: Sequence[Candidate], declared: DatasetConfig
) -> PublishRequest:
    """Return a request that names all replays that add inputs.

    With `runs: partial`, replays of other configs' stages add inputs, as runs do. The request is stored, so a
    change of the config does not change the draft.
    """
    if declared.runs == "complete":
        return request
    added = [one.id for one in found if one.is_foreign and one.id != request.base]
    return replace(request, add=list(dict.fromkeys([*request.add, *added])))


async def _check_source(db: Session, base: Candidate) -> None:
    """Check that the objects that a replay has received exist.

    The lock of the source keeps them until the commit.
    """
    assert base.source_n is not None
    state = await db.row(SQL.publication_state, execution=base.source_n)
    if state and state[0] != "published":
        raise Conflict(
            "execution_pruned",
            f"the source of {base}, publication {state[1]} of {state[2]}, was dropped, so its objects may be "
            "gone. Replay the current one",
        )
    for gone in (await prunings_of(db, [base.source_n]))[base.source_n]:
        if gone.overlaps(base.stage):
            raise Conflict(
                "execution_pruned",
                f"the objects that {base} received were pruned on {gone.pruned_at}, so they cannot be inputs",
            )
