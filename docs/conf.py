"""How `make docs` makes a site of these pages, without network: Sphinx, MyST and the theme furo.

The source folder is the repository, not `docs/`: so README, ARCHITECTURE and the examples are pages too, and
a relative link means on the site what it means on GitHub. Pages hold no directive for the tree of
contents, which GitHub would show as code; `_with_contents` gives it to the first page.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent

#: Caption and pages; a pattern takes what no line before it has named.
CONTENTS: Final = (
    ("Start", ("docs/why", "docs/quickstart", "docs/concepts", "examples/*/README")),
    (
        "How to",
        (
            *("docs/howto/own-adapter", "docs/howto/replay-after-a-fix", "docs/howto/external-routes"),
            *("docs/howto/dead-letters", "docs/howto/production", "docs/howto/deploy", "docs/howto/*"),
        ),
    ),
    ("Reference", ("docs/reference/*",)),
    (
        "About",
        (
            *("ARCHITECTURE", "docs/faults", "docs/benchmarks", "docs/decisions/README", "docs/decisions/*"),
            *("CHANGELOG", "CONTRIBUTING", "docs/README"),
        ),
    ),
)

_init = (ROOT / "src" / "playhead" / "__init__.py").read_text(encoding="utf-8")
_version = re.search(r'^__version__\s*=\s*"(.+)"', _init, re.MULTILINE)
assert _version, "src/playhead/__init__.py names no version"

project = "Playhead"
release = version = _version[1]
project_copyright = "the Playhead authors"
language = "en"

root_doc = "README"
include_patterns = ["*.md", "docs/**", "examples/*/README.md"]
# Sphinx skips these folders entirely: some hold thousands of files.
exclude_patterns = [
    *(".*", "**/.*", "build", "dist", "demo", "scratch"),
    *("src", "tests", "bench", "tools", "deploy"),
]
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
nitpicky = True
# Where a block does not say, it is what a program printed.
highlight_language = "text"
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"Playhead {release}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}


def _with_contents(app: Any, page: str, source: list[str]) -> None:
    """Give the first page the tree of contents."""
    if page == root_doc:
        for caption, pages in CONTENTS:
            lines = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{lines}\n```\n"


def _with_index(app: Any, failed: Exception | None) -> None:
    """The first page is README.html; servers and people open index.html."""
    if failed is None and app.builder.name == "html":
        shutil.copyfile(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _with_contents)
    app.connect("build-finished", _with_index)
    return {"parallel_read_safe": True}
