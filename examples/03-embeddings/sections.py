"""An adapter that splits a markdown page into its sections."""

from __future__ import annotations

import re
from collections.abc import Iterator

from playhead import Item, Output, adapter

LAYOUT = ("![", "|")
"""Lines that begin so are images and menus."""


@adapter("sections", version="1", produces="text/markdown")
def sections(item: Item) -> Iterator[Output]:
    """One segment for each section of a page. It begins with the title of the page."""
    title = item.attributes.get("title", item.path)
    for section in re.split(r"^#+ ", item.text, flags=re.MULTILINE):
        lines = [line for line in section.splitlines() if line and not line.startswith(LAYOUT)]
        if lines:
            yield item.derive("\n".join([f"{title}: {lines[0]}", *lines[1:]]))
