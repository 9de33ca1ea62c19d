"""Adapters of packages are found by their entry points, under the names that they are declared with."""

from __future__ import annotations

import os
import py_compile
import sys
import tomllib
from pathlib import Path

import pytest

from playhead import Item
from playhead.bootstrap import load_adapters
from playhead.errors import CannotStart
from playhead.settings import Settings
from playhead.testing import run_adapter
from tests.acceptance.pages import FENCE, ROOT

GROUP = "playhead.adapters"


def install(folder: Path, steps: str, entries: dict[str, str], name: str = "shouting") -> None:
    """Create the metadata of an installed package in a folder of the path."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    lines = "".join(f"{entry} = {value}\n" for entry, value in entries.items())
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}", encoding="utf-8")
    (folder / f"{name}_steps.py").write_text(steps, encoding="utf-8")


SHOUT = """\
from playhead import Item, adapter

@adapter("shout")
def shout(item: Item) -> str:
    return item.text.upper()
"""


def test_an_installed_package_needs_no_setting(tmp_path, monkeypatch):
    install(tmp_path, SHOUT, {"shout": "shouting_steps:shout"})
    assert "shout" not in load_adapters(Settings())
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load_adapters(Settings())
    assert loaded["shout"].origin.startswith("shouting_steps.shout")


def test_an_entry_point_whose_name_differs_from_its_adapter_is_refused_at_start(tmp_path, monkeypatch):
    install(tmp_path, SHOUT, {"scream": "screaming_steps:shout"}, "screaming")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CannotStart, match="scream") as caught:
        load_adapters(Settings())
    assert caught.value.code == "adapters_invalid"


def test_the_page_about_adapters_shows_a_package_that_is_found(tmp_path, monkeypatch):
    blocks = FENCE.findall((ROOT / "docs/howto/own-adapter.md").read_text(encoding="utf-8"))
    project = next(tomllib.loads(body) for language, body in blocks if language == "toml")
    steps = next(body for _, body in blocks if body.startswith("# sentences.py"))
    install(tmp_path, "", project["project"]["entry-points"][GROUP], project["project"]["name"])
    (tmp_path / project["tool"]["hatch"]["build"]["include"][0]).write_text(steps, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())  # it must not stay imported
    assert load_adapters(Settings())["sentences"].doc == "Cut text into sentences."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\nimport no_such_module_here\n", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("import json\n\njson.loads('{')\n", "JSONDecodeError: Expecting property name"),
        ("from playhead import adapter\n\nadapter('Not a name!')(int)\n", "ValueError: "),
    ],
)
@pytest.mark.parametrize("kind", ["file", "module", "entry point"])
def test_an_error_of_an_import_names_the_line(tmp_path, monkeypatch, kind: str, text: str, said: str):
    (tmp_path / f"breaking_{kind[0]}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    named = {"file": str(tmp_path / "breaking_f.py"), "module": "breaking_m"}.get(kind)
    if named is None:
        install(tmp_path, text, {"broken": "breaking_e:broken"}, "breaking")
        (tmp_path / "breaking_steps.py").unlink()

    with pytest.raises(CannotStart) as caught:
        load_adapters(Settings(adapters=(named,) if named else ()))

    assert said in caught.value.detail
    assert caught.value.detail.endswith(f"({tmp_path / f'breaking_{kind[0]}.py'}, line 3)")


def steps(folder: Path, imports: str, **modules: str) -> str:
    """Write a file with an adapter that imports its neighbours; return its path."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    named = folder / "steps.py"
    named.write_text(f"import {imports}\n{SHOUT}".replace("shout", folder.name))
    return str(named)


@pytest.fixture
def folders(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Two folders whose names are names of adapters."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    made = tmp_path / "first", tmp_path / "second"
    for one in made:
        one.mkdir()
    return made


def test_a_file_of_adapters_may_import_modules_of_its_folder(folders):
    """It needed PYTHONPATH, although the fingerprint covered the modules."""
    (folders[0] / "parts").mkdir()
    (folders[0] / "parts" / "inner.py").write_text("")
    named = steps(folders[0], "near_by, parts.inner", near_by="")

    before = load_adapters(Settings(adapters=(named,)))["first"].code
    loaded = [name for name, one in sys.modules.items() if getattr(one, "__file__", None) == named]
    del sys.modules[loaded[0]]
    steps(folders[0], "near_by, parts.inner", near_by="print()")

    assert load_adapters(Settings(adapters=(named,)))["first"].code != before


def test_two_folders_may_not_have_modules_with_the_same_name(folders):
    named = tuple(steps(one, "same_name", same_name="") for one in folders)

    with pytest.raises(
        CannotStart, match=r"finds another same_name first .*first/same_name\.py.*rename"
    ) as caught:
        load_adapters(Settings(adapters=named))

    assert caught.value.code == "adapters_invalid"


def test_a_module_with_the_name_of_an_installed_one_is_refused(folders):
    named = steps(folders[0], "numbers", numbers="")

    with pytest.raises(CannotStart, match="finds another numbers first"):
        load_adapters(Settings(adapters=(named,)))


def test_code_is_loaded_from_source_although_a_compiled_file_has_the_same_size_and_time(folders):
    """Python ran the old code, and outputs had the fingerprint of the new code."""
    near, inner = folders[0] / "near_stale.py", folders[0] / "stale_package" / "inner.py"
    inner.parent.mkdir()
    named = folders[0] / "steps.py"
    text = (
        "import near_stale, stale_package.inner\n"
        "from playhead import Item, adapter\n"
        "@adapter('stale')\n"
        "def stale(item: Item) -> str:\n"
        "    import late_stale\n"
        "    return 'old ' + near_stale.IS + stale_package.inner.IS + late_stale.IS\n"
    )
    files = {named: text, **dict.fromkeys((near, inner, folders[0] / "late_stale.py"), "IS = 'old '\n")}
    for file, old in files.items():
        file.write_text(old)
        py_compile.compile(str(file))
        about = file.stat()
        file.write_text(old.replace("old", "new"))
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))

    (made,) = run_adapter(load_adapters(Settings(adapters=(str(named),)))["stale"].target, Item("a.txt", b""))

    assert made.text == "new new new new "
