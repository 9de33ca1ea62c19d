"""`/configs`: the newest version of each config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.model import ConfigVersion
from playhead.web.page import ROWS, ApiCall, Ask, Page, Shown, url


@dataclass(frozen=True, slots=True)
class ConfigsView:
    """The configs.

    Attributes:
        configs: newest version of each config; the config that was created last comes first.
        next_url: next page.
    """

    configs: Sequence[ConfigVersion]
    next_url: str | None


async def show(ask: Ask) -> Shown[ConfigsView]:
    cursor = ask.text("cursor")
    page = await ask.services.configs.list(cursor, ROWS)
    next_url = url("/configs", cursor=page.next_cursor) if page.next_cursor else None
    call = ApiCall(url("/api/v1/configs", limit=ROWS, cursor=cursor))
    return Shown("Configs", ConfigsView(page.items, next_url), [call])


PAGES: Final = (Page("/configs", "configs.html", show, "configs", scope="read"),)
