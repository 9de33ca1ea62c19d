"""`/find?q=`: a text leads to the page of what it names, or to what contains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from playhead.model import FOUND_KINDS, Found, FoundGroup, FoundKind
from playhead.services import Services
from playhead.web.links import link
from playhead.web.page import ApiCall, Ask, Page, Redirect, Shown, url
from playhead.wording import coverage_of

_MOST: Final = 20
_MOST_OF_A_KIND: Final = 100
_MOST_NEAR: Final = 8
_NAMES: Final[Mapping[FoundKind, str]] = MappingProxyType(
    {
        "object": "Objects",
        "attribute": "Attributes",
        "dead_letter": "Dead letters",
        "message": "Messages",
        "execution": "Executions",
        "replay": "Replays",
        "plan": "Plans",
        "dataset": "Publications",
        "config": "Configs",
        "route": "Routes",
        "queue": "Queues",
        "adapter": "Adapters",
    }
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that a text may mean.

    Attributes:
        kind: what the page shows, in words.
        title: one line that describes it.
        href: URL of the page.
        is_exact: whether the text is its name, path or id.
        happened_at: when it was stored, failed or started.
        outcome: its state.
        is_current: whether readers see it; None if it is no object of a published dataset.
        executions: in how many executions its path occurs.
    """

    kind: str
    title: str
    href: str
    is_exact: bool
    happened_at: str | None
    outcome: str | None
    is_current: bool | None
    executions: int | None


@dataclass(frozen=True, slots=True)
class Group:
    """Pages of one kind.

    Attributes:
        id: the kind.
        name: what it is called.
        hits: exact ones, then the newest.
        more: URL of a page with more of them; None if there are no more.
        has_more: there are more, but no page shows them.
    """

    id: FoundKind
    name: str
    hits: Sequence[Hit]
    more: str | None
    has_more: bool


@dataclass(frozen=True, slots=True)
class FindView:
    """What a text names, and what contains it.

    Attributes:
        text: the text; None: none was given.
        kind: the only kind that is shown; None: all.
        exact: number of pages whose name, path or id is the text.
        coverage: what was not searched; None: everything was.
    """

    text: str | None
    kind: FoundKind | None
    groups: Sequence[Group]
    exact: int
    coverage: str | None


def _hit(found: Found) -> Hit:
    return Hit(
        found.kind.replace("_", " "),
        found.title,
        link(found.kind, found.id),
        found.is_exact,
        found.happened_at,
        found.outcome,
        found.is_current,
        found.executions,
    )


async def near(services: Services, text: str) -> list[Hit]:
    """Return pages that a text may mean, best first."""
    return [_hit(found) for found in await services.find.find(text, _MOST_NEAR)]


async def show(ask: Ask) -> Shown[FindView] | Redirect:
    text = ask.text("q")
    kind = next((one for one in FOUND_KINDS if one == ask.choice("kind", FOUND_KINDS)), None)
    if text is None:
        return Shown("Find", FindView(None, kind, [], 0, None))
    limit = _MOST_OF_A_KIND if kind else _MOST
    answer = await ask.services.find.everything(text, kind, limit)
    groups = [_group(group, text, is_alone=kind is not None) for group in answer.groups]
    exact = [hit for group in groups for hit in group.hits if hit.is_exact]
    if len(exact) == 1 and kind is None:
        return Redirect(exact[0].href)
    view = FindView(text, kind, groups, len(exact), coverage_of(answer.search))
    return Shown(f"Find {text[:60]}", view, [ApiCall(url("/api/v1/find", text=text, kind=kind, limit=limit))])


def _group(group: FoundGroup, text: str, *, is_alone: bool) -> Group:
    more = url("/find", q=text, kind=group.kind) if group.has_more and not is_alone else None
    hits = [_hit(found) for found in group.items]
    return Group(group.kind, _NAMES[group.kind], hits, more, group.has_more and is_alone)


PAGES: Final = (Page("/find", "find.html", show, scope="read"),)
