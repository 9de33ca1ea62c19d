"""Find publications that a rollback has taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from playhead.model import Dataset, Page, Publication

_PAGE = 100


class Publications(Protocol):
    """The service that lists publications, here or on a server."""

    async def publications(
        self, name: str, cursor: str | None = None, limit: int = 100, *, every: bool = False
    ) -> Page[Publication]: ...


async def taken_back(
    service: Publications, name: str, dataset: Dataset, items: Sequence[Publication]
) -> set[int]:
    """Return the numbers of those of `items` that readers have seen, and a rollback has taken back.

    Each publication is based on the one that was current before, so all others are taken back.
    """
    published = [one.n for one in items if one.state == "published"]
    if not published or dataset.current is None:
        return set()
    bases: dict[int, int | None] = {}
    cursor: str | None = None
    while not bases or (cursor and min(bases) > min(published)):
        page = await service.publications(name, cursor, _PAGE, every=True)
        bases |= {one.n: one.base for one in page.items}
        cursor = page.next_cursor
    seen: set[int] = set()
    at: int | None = dataset.current
    while at is not None and at not in seen:
        seen.add(at)
        at = bases.get(at)
    return set(published) - seen
