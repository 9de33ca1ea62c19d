"""Results of publications, and those that are not of the newest code: *stale* ones."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from playhead.model.code import AdapterCode


@dataclass(frozen=True, slots=True)
class RouteResults:
    """Results of a route in a publication. A result is what one message produced.

    Attributes:
        route: the route.
        from_stage: stage of the objects that it received.
        results: their number.
        stale: number of those that are not of the newest code: the newest version of the config declares the
            stage or the steps of the route otherwise, or the adapters that answer have another version or
            code. None: not known, because the process that answers has not loaded an adapter of the route.
        is_declared: whether the newest version of the config has the route. Otherwise they are all stale, and
            cannot be replayed.
        declared_valid: number of results that are not of the newest code either, but that a person has
            declared valid (`others_valid` of a replay). They are not stale.
    """

    route: str
    from_stage: str
    results: int
    stale: int | None
    is_declared: bool
    declared_valid: int = 0


@dataclass(frozen=True, slots=True)
class CodeResults:
    """Results of a route in a publication that the same code has made, with the same version of the config.

    Attributes:
        route: the route.
        from_stage: stage of the objects that it received.
        config_version: version of the config that declared the route.
        adapters: the adapters of the route, in their order; None: another program, or it is not known.
        results: their number.
        is_newest: whether they are of the newest code; see `RouteResults`. None: not known, because the
            process that answers has not loaded an adapter of the route.
        declared_valid: number of those that a person has declared valid; see `RouteResults`.
    """

    route: str
    from_stage: str
    config_version: int
    adapters: list[AdapterCode] | None
    results: int
    is_newest: bool | None
    declared_valid: int = 0


@dataclass(frozen=True, slots=True)
class StaleResult:
    """A result that is not of the newest code; see `RouteResults`.

    Attributes:
        route: the route that produced it.
        from_stage, from_path: stage and path of the object that the route received.
        key: key of its first object; None if it has none.
        error_code: that of the dead letter, if the newest replay of the object into the route has failed.
    """

    route: str
    from_stage: str
    from_path: str
    key: str | None
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Declaration:
    """Results that a person has declared valid, although their code is not the newest.

    They are the results of a route in a publication for objects that a replay of the publication leaves out.
    The next runs with `changed_since` take them over while the code and the settings of the route are those
    of the replay.

    Attributes:
        dataset: name of the dataset.
        route: the route.
        from_stage: stage of the objects that it received.
        publication: number of the publication that was replayed.
        execution_id: execution of the replay.
        replay_batch_id: the replay.
        config_version: version of the config with which it began.
        adapters: the newest code of the route at that time.
        reason: why the results are valid.
        declared_at: RFC 3339 in UTC.
        undone_at: time from which runs do not take the results over any more; RFC 3339 in UTC; None until
            then.
    """

    dataset: str
    route: str
    from_stage: str
    publication: int
    execution_id: UUID
    replay_batch_id: UUID
    config_version: int
    adapters: list[AdapterCode]
    reason: str
    declared_at: str
    undone_at: str | None = None
