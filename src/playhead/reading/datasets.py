"""Look up datasets and publications by the names that people write, or raise the error that they get."""

from __future__ import annotations

from typing import Final, Protocol

from playhead.errors import BadRequest, Conflict, NotFound
from playhead.model import Dataset, Publication, Switch

_MOST_SWITCHES: Final = 20
"""Newest switches among which the rollback that holds a dataset is looked for."""


class Datasets(Protocol):
    """The part of the catalog that looking up a dataset needs."""

    async def datasets(self, name: str | None = None, *, config: str | None = None) -> list[Dataset]: ...


class Switches(Protocol):
    """The part of the catalog that looking up a hold needs."""

    async def dataset_number(self, config: str, name: str) -> int: ...

    async def switches(self, dataset: int, *, limit: int = 100) -> list[Switch]: ...


async def hold_of(catalog: Switches, dataset: Dataset) -> Switch | None:
    """Return the rollback that holds automatic publication; None if nothing does."""
    if not dataset.held:
        return None
    number = await catalog.dataset_number(dataset.config, dataset.name)
    switches = await catalog.switches(number, limit=_MOST_SWITCHES)
    return next((one for one in switches if one.kind == "rollback"), None)


async def find_dataset(catalog: Datasets, name: str) -> Dataset:
    """Return the dataset `NAME`, or `CONFIG/NAME` if several configs have the name.

    Raises:
        BadRequest: `dataset_ambiguous`.
        NotFound: `dataset_not_found`.
    """
    config, slash, alone = name.rpartition("/")
    found = await catalog.datasets(alone, config=config if slash else None)
    if len(found) == 1:
        return found[0]
    if found:
        raise BadRequest(
            "dataset_ambiguous",
            f"{len(found)} configs have a dataset {name!r}; name one of: "
            + ", ".join(f"{one.config}/{one.name}" for one in found),
        )
    every = ", ".join(f"{one.config}/{one.name}" for one in await catalog.datasets())
    raise NotFound(
        "dataset_not_found",
        f"no dataset {name!r}. " + (f"Datasets: {every}" if every else "No config declares one"),
    )


def nothing_published(name: str) -> Conflict:
    return Conflict(
        "nothing_published",
        f"dataset {name} has no current publication. Run: playhead publish {name} latest",
    )


def no_draft(name: str) -> NotFound:
    return NotFound("publication_not_found", f"no publication of {name} is being prepared")


def check_readable(dataset: Dataset, found: Publication | None, n: int) -> Publication:
    """Return a publication that readers have seen, and that is kept.

    Raises:
        NotFound: `publication_not_found`, `publication_dropped`.
    """
    if found is None:
        newest = f"The newest is {dataset.decided}" if dataset.decided else "Nothing is published"
        raise NotFound("publication_not_found", f"dataset {dataset.name} has no publication {n}. {newest}")
    check_seen(found)
    return found


def check_seen(found: Publication) -> None:
    """Check that readers have seen a publication, and that it is kept.

    Raises:
        NotFound: `publication_not_found`, `publication_dropped`.
    """
    what = f"publication {found.n} of {found.dataset}"
    if found.state == "dropped":
        raise NotFound("publication_dropped", f"{what} was dropped on {found.dropped_at}")
    if found.state != "published":
        raise NotFound("publication_not_found", f"{what} is {found.state}: readers have never seen it")
