"""Some 200 HTML pages that every machine has: the standard library, as pydoc writes it.

Run as a script (`python -m playhead.demo.pages FOLDER`), because looking at every module imports it,
and what an import leaves behind belongs in no long-lived process. Takes 2–4 seconds.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pydoc
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

_SKIPPED = (
    "antigravity", "ctypes", "idlelib", "lib2to3", "site", "sys", "sysconfig",
    "test", "this", "tkinter", "turtle", "turtledemo",
)  # fmt: skip
"""They open a window or print on import, describe only this machine, or are not useful to a reader."""

_FILE_LINK = re.compile(r'<a href="file:[^"]*">[^<]*</a>(?:<br>)?')
_ADDRESS = re.compile(r"(?: |&nbsp;)at(?: |&nbsp;)0x[0-9a-fA-F]+")
_MODULE_FILE = re.compile(r"(?: |&nbsp;)from(?: |&nbsp;)'/[^']*'")


def modules() -> list[str]:
    """The public top-level modules of the standard library, in order."""
    return sorted(n for n in sys.stdlib_module_names if not n.startswith("_") and n not in _SKIPPED)


def page(name: str) -> str | None:
    """Return the HTML page of one module; None if this machine cannot import it (`winreg`, `ensurepip` …)."""
    # A module may print, warn or exit when it is imported or inspected; all of that is ignored.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            module = importlib.import_module(name)  # noqa: TID251 - the names are the standard library's
            writer = pydoc.HTMLDoc()
            text = writer.page(pydoc.describe(module), writer.document(module, name))
        except (Exception, SystemExit):
            return None
    return cleaned(text)


def cleaned(text: str) -> str:
    """Return a page without paths and addresses, which differ between machines and runs."""
    for what in (_FILE_LINK, _ADDRESS, _MODULE_FILE):
        text = what.sub("", text)
    return text


def write(folder: Path, names: Iterator[str] | list[str] | None = None) -> int:
    """Write one `.html` file a module into `folder`, and return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name in modules() if names is None else names:
        if text := page(name):
            (folder / f"{name}.html").write_text(text, encoding="utf-8", errors="replace")
            count += 1
    return count


def forget_environment() -> None:
    """Clear the environment of this process: several modules show it as data, with its secrets."""
    os.environ.clear()  # noqa: TID251
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("posix").environ.clear()  # noqa: TID251 - its own copy


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    forget_environment()
    write(Path(sys.argv[1]))
