"""Results of publications, and those that are not of the newest code: *stale* ones."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    route: str
    from_stage: str
    results: int
    stale: int | None
    is_declared: bool


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
    """

    route: str
    from_stage: str
    config_version: int
    adapters: list[AdapterCode] | None
    results: int
    is_newest: bool | None


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
