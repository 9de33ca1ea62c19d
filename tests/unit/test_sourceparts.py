"""The fingerprint of an adapter covers what it uses from its files, or the whole files if that is unknown."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from playhead.sourcecode import roots
from playhead.sourcecode.roots import AdapterSource

HEAD = "from playhead import Item, adapter\n"
A = '@adapter("a")\ndef a(item: Item) -> str:\n    return '
B = '@adapter("b")\ndef b(item: Item) -> str:\n    return '

HELPER = "def clean(text):\n    return strip(text)\ndef strip(text):\n    return text.strip()\nUNUSED = 1\n"


class Project:
    """Files of two adapters, `a` and `b`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, files: dict[str, str]) -> dict[str, AdapterSource]:
        for name, text in files.items():
            file = self._folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        root = roots.root_of(str(self._folder / "steps.py"))
        assert root is not None
        found = roots.read(root)
        return {kind: found.of(kind) for kind in ("a", "b")}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


class Edit(NamedTuple):
    """An edit of a file, from `source_edits.txt`. `changed`: the adapters that have a new fingerprint."""

    name: str
    changed: str
    before: dict[str, str]
    after: dict[str, str]


def edits() -> Iterator[Edit]:
    _, *cases = (Path(__file__).parent / "source_edits.txt").read_text().split("=== ")
    for case in cases:
        title, _, text = case.partition("\n")
        name, _, changed = title.partition(":")
        files = dict(zip(("steps.py", "helper.py"), text.split("--- helper.py\n"), strict=False))
        yield Edit(
            name, changed.strip(), *({of: version(one, mark) for of, one in files.items()} for mark in "-+")
        )


def version(text: str, mark: str) -> str:
    """Return the lines of one side of a difference."""
    lines = [line[1:] for line in text.splitlines() if line[:1] in ("", " ", mark)]
    short = re.compile(r"([AB]) (.*)")
    adapters = [
        f'@adapter("{found[1].lower()}")\ndef {found[1].lower()}(item: Item) -> str:\n    return {found[2]}'
        if (found := short.fullmatch(line))
        else line
        for line in lines
    ]
    head = [] if "from playhead import Item, adapter" in lines else [HEAD.strip()]
    return "\n".join([*head, *adapters, ""])


@pytest.mark.parametrize("edit", list(edits()), ids=lambda edit: edit.name)
def test_an_edit_changes_the_fingerprints_of_the_adapters_that_it_can_affect(project: Project, edit: Edit):
    assert edit.before != edit.after
    before, after = project.write(edit.before), project.write(edit.after)
    assert "".join(kind for kind in "ab" if before[kind].code != after[kind].code) == edit.changed


@pytest.mark.parametrize(
    ("line", "why", "name"),
    [
        ("X = globals()", "reflection", "globals"),
        ("from sys import modules as X", "", ""),
        ("import sys\nX = sys.modules", "reflection", "sys.modules"),
        ("def f(g):\n    return g.__globals__", "reflection", "__globals__"),
        ("X = vars()", "reflection", "vars()"),
        ("import importlib\nX = importlib.import_module('he' + 'lper')", "computed_import", ""),
        ("from helper import *", "star_import", "helper"),
        ("def __getattr__(name):\n    return 1", "module_getattr", "__getattr__"),
        ("def (", "not_python", ""),
        (f"X = {'+'.join(['1'] * 3000)}", "not_python", ""),
    ],
)
def test_the_reason_for_whole_files_is_named(project: Project, line: str, why: str, name: str):
    found = project.write({"steps.py": f"{HEAD}{A}'1'\n{line}\n", "helper.py": ""})["a"].whole
    if not why:
        assert found is None
        return
    assert found is not None
    assert (found.why, found.name, found.file) == (why, name, "steps.py")
    assert found.line in ((0,) if why == "not_python" else (5, 6))


def test_an_adapter_without_a_declaration_in_the_text_covers_whole_files(project: Project):
    whole = project.write(
        {"steps.py": f"{HEAD}NAME = 'a'\n{A.replace(chr(34) + 'a' + chr(34), 'NAME')}'1'\n"}
    )["a"].whole
    assert whole is not None
    assert (whole.why, whole.file) == ("not_found", "")


def test_what_is_covered_is_named_by_file(project: Project):
    steps = f"{HEAD}from helper import clean\nimport random\nrandom.seed(1)\nX = 1\n{A}clean(str(X))\n"
    covered = project.write({"steps.py": steps, "helper.py": HELPER})["a"].covered
    assert [(one.file, one.names, one.lines) for one in covered] == [
        ("helper.py", ["clean", "strip"], []),
        ("steps.py", ["X", "a"], [4]),
    ]


def test_an_adapter_that_a_package_exports_covers_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "exporting"
    package.mkdir()

    def codes(text: str) -> list[str]:
        (package / "__init__.py").write_text("from .one import a\nfrom exporting.two import b\n")
        (package / "one.py").write_text(f"{HEAD}from . import words\n{A}words.WORD\n")
        (package / "two.py").write_text(f"{HEAD}{B}'2'\n")
        (package / "words.py").write_text(text)
        root = roots.root_of("exporting")
        assert root is not None
        found = roots.read(root)
        return [found.of(kind).code for kind in "ab"]

    (a1, b1), (a2, b2) = codes("WORD = 1\n"), codes("WORD = 2\n")
    assert (a1 != a2, b1 == b2) == (True, True)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_fingerprint_is_the_same_in_all_versions_of_python(tmp_path: Path, version: str):
    """The text of a tree must not depend on what a version adds to it."""
    source = Path(roots.__file__).parent / "canonical.py"
    text = (
        '"""Dö\\n  c."""\nasync def f(x: "int" = 0x10, *a, **k) -> None:\n'
        "    y = f\"a{x!r:>{k['w']}}b\" 'c' f'{x=}'\n"
        "    match y:\n        case [1, *_] | {'k': None, **r}: pass\n"
        "    return (lambda: ...)(), 1e9, 2j, b'\\xff', u'\\u0378', -1\nclass C(object, m=1): z: int\n"
    )
    program = f"import ast; exec({source.read_text()!r}); print(ascii(canonical(ast.parse({text!r}))))"
    try:
        done = subprocess.run([f"python{version}", "-c", program], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"python{version} does not run here: {exc}")
    here = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == here.stdout != ""
