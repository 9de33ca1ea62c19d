"""The results of publications: what made them, how many there are, and how many bytes they protect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from playhead.model import AdapterCode

MadeById = tuple[int, str, int | None]
"""What made a result, as numbers: the route of a config version, the stage of what it received, its code."""


class MadeBy(NamedTuple):
    """What made some results of a publication.

    Attributes:
        version: version of the config.
        route: the route.
        from_stage: stage of the objects that it received.
        stage: stage of its objects; `SINK` and the route if it has none.
        code: adapters that ran, in their order; None: another program, or it is not known.
        results: number of these results.
    """

    version: int
    route: str
    from_stage: str
    stage: str
    code: tuple[AdapterCode, ...] | None
    results: int
    id: MadeById


class MadeCount(NamedTuple):
    """Entries that a draft adds or closes, by what made their results.

    Attributes:
        made_by: None: they are inputs, or not the first entries of their results.
        results: number of their results.
        bytes: of their objects.
    """

    made_by: MadeById | None
    results: int
    bytes: int


class Result(NamedTuple):
    """A result in a publication.

    Attributes:
        path: path of its first object in the stage.
        key: key of this object; None for a result without objects.
        received_key: key of the object that the route received.
        received: its path.
    """

    path: str
    key: str | None
    received_key: str
    received: str
    made_by: MadeById


class Shown(NamedTuple):
    """What readers of a dataset see.

    Attributes:
        n: number of the publication.
        objects: number of its objects.
        age_seconds: time since it was decided.
    """

    config: str
    dataset: str
    n: int
    objects: int
    made_by: Sequence[MadeBy]
    age_seconds: float


class StepTimes(NamedTuple):
    """Seconds that the steps of a publication took.

    Attributes:
        resolving: until its content was complete.
        staging: from then until it was decided; the sinks get their rows meanwhile.
    """

    resolving: float
    staging: float


class Protected(NamedTuple):
    """Bytes that the publications of a dataset protect from prunes.

    Attributes:
        n: number of the newest decided publication.
        of_newest: bytes of its objects.
        of_all: bytes of the objects of all publications that are kept.
    """

    config: str
    dataset: str
    n: int
    of_newest: int
    of_all: int


class Results(Protocol):
    async def made_by(self, dataset: int, numbers: Sequence[int]) -> dict[int, list[MadeBy]]:
        """Return what made the results of publications of a dataset, by number, in the order of the routes.

        It was counted when the content of a publication was complete, so it costs the same for any size.
        """
        ...

    async def results_in(self, dataset: int, n: int, *, stage: str, after: str, limit: int) -> list[Result]:
        """Return results of a stage, or of `SINK` and a route, in byte order of the paths of their first
        objects, after `after`. Inputs are not among them."""
        ...

    async def failed_replays(self, keys: Sequence[str]) -> dict[tuple[str, str], str]:
        """Return the error codes of dead letters, by key of the object and route: those of its newest replay.

        An object whose newest replay into the route has no dead letter is left out. Inputs of a run count as
        replayed by the run itself.
        """
        ...

    async def shown(self) -> list[Shown]:
        """Return what readers see of each dataset of which something is published."""
        ...

    async def publication_times(self) -> list[StepTimes]:
        """Return how long the steps of each decided publication took."""
        ...

    async def protected_bytes(self) -> list[Protected]:
        """Return the bytes that publications protect, by dataset. Reads all entries."""
        ...
