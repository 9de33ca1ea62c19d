"""Write the generated parts of the pages: `python -m tools.reference`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from tools.reference import (
    DOCS,
    Parts,
    access,
    adapters,
    api,
    cli,
    configs,
    errors,
    events,
    filled,
    metrics,
    python,
    settings,
)

PAGES: Final[Mapping[str, Parts]] = {
    "howto/keys.md": access.PARTS,
    "howto/operating.md": metrics.PARTS,
    "reference/adapters.md": adapters.PARTS,
    "reference/api.md": api.PARTS,
    "reference/cli.md": cli.PARTS,
    "reference/configs.md": configs.PARTS,
    "reference/errors.md": errors.PARTS,
    "reference/events.md": events.PARTS,
    "reference/python.md": python.PARTS,
    "reference/settings.md": settings.PARTS,
}


def written(page: str) -> tuple[str, str]:
    """Return the current text of a page, and the text that the generator would write."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return text, filled(page, text, PAGES[page])


def main() -> None:
    for page in PAGES:
        current, wanted = written(page)
        if current != wanted:
            (DOCS / page).write_text(wanted, encoding="utf-8")
            sys.stdout.write(f"docs/{page}\n")


if __name__ == "__main__":
    main()
