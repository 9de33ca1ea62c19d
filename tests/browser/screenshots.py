"""Write pictures of all pages, with demo data: `make screenshots`.

`build/screenshots` gets each page in light and dark, and some of them in the width of a phone. `docs/images`
gets the top of the pages that the documentation shows.
"""

from __future__ import annotations

import math
import sqlite3
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.browser.chromium import NARROW, WIDE, Visitor, open_browser
from tests.browser.demo import Demo, open_demo
from tests.browser.examples import URLS
from tests.servers import Missing

ROOT: Final = Path(__file__).parents[2]
PICTURES: Final = ROOT / "build/screenshots"
IN_DOCS: Final = ROOT / "docs/images"
DOCS: Final = {
    "home": 1250,
    "execution": 1000,
    "execution-timeline": 720,
    "object": 1000,
    "replay": 900,
    "progress": 800,
    "progress-canary": 700,
    "result-changed": 1080,
    "dead-letters": 600,
}
"""Pages that the documentation shows, each with the height of its picture."""
PHONE: Final = ("home", "execution", "object", "replay", "progress")
PAGES: Final = 200
"""Inputs of the handbook."""


def write(visitor: Visitor, demo: Demo, names: Iterable[str], suffix: str, folder: Path = PICTURES) -> None:
    """Write pictures of pages, each with this suffix."""
    page = visitor.context.new_page()
    for name in names:
        page.goto(demo.url(URLS[name]))
        page.wait_for_timeout(300)  # live numbers, frames and fonts
        page.screenshot(path=folder / f"{name}-{suffix}.png", full_page=True)
        if suffix == "light" and name in DOCS and folder == PICTURES:
            page.screenshot(
                path=IN_DOCS / f"{name}.png",
                clip={"x": 0, "y": 0, "width": WIDE["width"], "height": DOCS[name]},
                full_page=True,
            )


def add_a_day(demo: Demo) -> None:
    """Add counts of the day before, because all of the demo data are of the last minute."""
    now = int(time.time() // 60)
    day = range(now - 24 * 60, now - 15, 5)
    done = [(at, int(900 + 600 * math.sin(at / 97) + 250 * math.sin(at / 31)), 0) for at in day]
    failed = [(at, 250 + at % 70, 1) for at in day if 300 < now - at < 360]
    waiting = [(at, int(4000 * math.sin((now - at - 200) / 100))) for at in day if 200 < now - at < 510]
    with closing(sqlite3.connect(demo.deployment.home / "playhead.db", timeout=60)) as con, con:
        into = "INSERT INTO minutes (minute, messages, cause, writer, config, route)"
        con.executemany(f"{into} VALUES (?, ?, ?, 1, 'handbook', 'segment')", done + failed)
        into = "INSERT INTO samples (minute, waiting, config, route)"
        con.executemany(f"{into} VALUES (?, ?, 'handbook', 'segment')", waiting)
        for name, hours in (("letters", 6), ("sounds", 13), ("warehouse", 19)):
            earlier = "UPDATE config_versions SET created_at = created_at - ? WHERE name = ?"
            con.execute(earlier, (hours * 3600, name))


def main(names: list[str]) -> None:
    """Write the pictures of these pages, or of all."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    IN_DOCS.mkdir(parents=True, exist_ok=True)
    chosen = names or list(URLS)
    try:
        with open_browser() as browser, open_demo(PAGES) as demo, demo.stale_worker():
            url = demo.deployment.url
            add_a_day(demo)
            demo.advance("paced", 0.6)
            for theme in ("light", "dark"):
                write(Visitor(browser, url, color_scheme=theme), demo, chosen, theme)
            on_phone = [name for name in PHONE if name in chosen]
            write(Visitor(browser, url, viewport=NARROW), demo, on_phone, "phone")
    except Missing as missing:
        sys.exit(f"screenshots: {missing}")
    print(f"{PICTURES}/")


if __name__ == "__main__":
    main(sys.argv[1:])
