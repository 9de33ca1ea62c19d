"""A URL for each page, with the demo data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

EXAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "/": ["/"],
    "/configs": ["/configs"],
    "/queues": ["/queues"],
    "/queues/{queue}": ["/queues/handbook.segment", "/queues/search.vectors"],
    "/system": ["/system"],
    "/help": ["/help"],
}
"""URLs by path of the page, as `playhead.web.app.PAGES` has it. Names in braces are ids of `Demo`."""

URLS: Final = [url for urls in EXAMPLES.values() for url in urls]
