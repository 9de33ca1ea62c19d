"""Write the reference pages: `python -m tools.reference`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from tools.reference import FOLDER, Parts, adapters, api, cli, configs, errors, filled, settings

PAGES: Final[Mapping[str, Parts]] = {
    "adapters.md": adapters.PARTS,
    "api.md": api.PARTS,
    "cli.md": cli.PARTS,
    "configs.md": configs.PARTS,
    "errors.md": errors.PARTS,
    "settings.md": settings.PARTS,
}


def written(page: str) -> tuple[str, str]:
    """A page as it is, and as the code wants it."""
    text = (FOLDER / page).read_text(encoding="utf-8")
    return text, filled(page, text, PAGES[page])


def main() -> None:
    for page in PAGES:
        is_, wanted = written(page)
        if is_ != wanted:
            (FOLDER / page).write_text(wanted, encoding="utf-8")
            sys.stdout.write(f"docs/reference/{page}\n")


if __name__ == "__main__":
    main()
