"""`/configs/{name}`: a version of a config: its graph, its text, and what has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.model import ConfigVersion
from playhead.textdiff import Hunk, compare, hunks
from playhead.web.page import ApiCall, Ask, Crumb, Page, Shown, url
from playhead.web.pipelines import Known, PipelineCard, card

_MOST_VERSION: Final = 10**9
_VERSIONS: Final = 20


@dataclass(frozen=True, slots=True)
class Change:
    """The difference between two versions.

    Attributes:
        against: version of the old text.
        hunks: changed lines with their surroundings.
        left_out: number of lines that are not shown.
        added: number of added lines.
        removed: number of removed lines.
    """

    against: int
    hunks: Sequence[Hunk]
    left_out: int
    added: int
    removed: int


async def change_of(old: ConfigVersion, source: str) -> Change:
    """Return the difference between a version and another text."""
    found = await asyncio.to_thread(compare, old.source, source)
    parts, left_out = hunks(found)
    return Change(old.version, parts, left_out, found.added, found.removed)


@dataclass(frozen=True, slots=True)
class ConfigView:
    """A version of a config.

    Attributes:
        config: the version.
        newest: number of the newest version.
        pipeline: its routes.
        change: difference to another version; None: none is chosen.
        versions: the newest versions.
        more_versions: whether there are more.
    """

    config: ConfigVersion
    newest: int
    pipeline: PipelineCard
    change: Change | None
    versions: Sequence[ConfigVersion]
    more_versions: bool


async def show(ask: Ask) -> Shown[ConfigView]:
    name = ask.parameters["name"]
    version = ask.number("version", 1, _MOST_VERSION)
    against = ask.number("against", 1, _MOST_VERSION)
    services = ask.services
    config, pipeline, page, datasets = await asyncio.gather(
        services.configs.get(name, version),
        services.pipelines.of_config(name, version),
        services.configs.versions(name, None, _VERSIONS),
        services.publish.datasets_of(name),
    )
    change = None
    if against is not None:
        change = await change_of(await services.configs.get(name, against), config.source)
    view = ConfigView(
        config=config,
        newest=page.items[0].version,
        pipeline=card(ask, pipeline, Known(datasets=datasets)),
        change=change,
        versions=page.items,
        more_versions=page.next_cursor is not None,
    )
    base = url(f"/api/v1/configs/{name}")
    calls = [ApiCall(f"{base}/versions/{config.version}"), ApiCall(f"{base}/dag?version={config.version}")]
    crumbs = [Crumb("Configs", "/configs"), Crumb(name)]
    return Shown(f"{name}, version {config.version}", view, calls, crumbs)


PAGES: Final = (Page("/configs/{name}", "config.html", show, "configs", scope="read"),)
