"""`/find?q=`: a name, an id, a key or a tag leads to its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.model import Found
from playhead.services import Services
from playhead.web.links import link
from playhead.web.page import ApiCall, Ask, Page, Redirect, Shown, url

_MOST: Final = 50
_MOST_NEAR: Final = 8


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that a text may mean.

    Attributes:
        kind: what the page shows, in words.
        title: one line that describes it.
        href: URL of the page.
    """

    kind: str
    title: str
    href: str


@dataclass(frozen=True, slots=True)
class FindView:
    """What a text names.

    Attributes:
        text: the text; None: none was given.
        exact: pages whose name or id is the text, or whose id ends with it.
        near: pages with a similar name or id.
    """

    text: str | None
    exact: Sequence[Hit]
    near: Sequence[Hit]


def _hit(found: Found) -> Hit:
    return Hit(found.kind.replace("_", " "), found.title, link(found.kind, found.id))


async def near(services: Services, text: str) -> list[Hit]:
    """Return pages that a text may mean, best first."""
    return [_hit(found) for found in await services.find.find(text, _MOST_NEAR)]


async def show(ask: Ask) -> Shown[FindView] | Redirect:
    text = ask.text("q")
    if text is None:
        return Shown("Find", FindView(None, [], []))
    found = await ask.services.find.find(text, _MOST)
    exact = [_hit(one) for one in found if one.is_exact]
    if len(exact) == 1:
        return Redirect(exact[0].href)
    view = FindView(text, exact, [_hit(one) for one in found if not one.is_exact])
    return Shown(f"Find {text[:60]}", view, [ApiCall(url("/api/v1/find", text=text, limit=_MOST))])


PAGES: Final = (Page("/find", "find.html", show),)
