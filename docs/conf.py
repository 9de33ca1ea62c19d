"""Configuration of the documentation site that `make docs` builds without network: Sphinx, MyST, furo.

The source folder is the repository, not `docs/`. So README, ARCHITECTURE and the examples are pages too, and
relative links work on the site as they do on GitHub. GitHub would show a toctree directive as code, so no
page contains one: `_with_contents` adds it to the first page.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent

#: Captions and their pages. A pattern adds the pages that no earlier entry names.
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
            *("CHANGELOG", "CONTRIBUTING", "SECURITY", "docs/tests", "docs/README"),
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
# A block without a language shows output of a program.
highlight_language = "text"
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"Playhead {release}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}


def _with_contents(app: Any, page: str, source: list[str]) -> None:
    """Add the table of contents to the first page."""
    if page == root_doc:
        for caption, pages in CONTENTS:
            lines = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{lines}\n```\n"


def _with_index(app: Any, failed: Exception | None) -> None:
    """Copy README.html to index.html, which servers and browsers open."""
    if failed is None and app.builder.name == "html":
        shutil.copyfile(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _with_contents)
    app.connect("build-finished", _with_index)
    return {"parallel_read_safe": True}
