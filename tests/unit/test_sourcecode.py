"""The files whose code an adapter may use: its own, and what that imports from the same folder or package."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from playhead import __version__, plugins
from playhead.bootstrap import load_adapters
from playhead.settings import Settings
from playhead.sourcecode import roots as sourcecode
from playhead.sourcecode.roots import CodeWatch
from tests.unit.test_plugins import SHOUT, install


def write(folder: Path, **files: str) -> Path:
    """Write modules: `{"a/b": text}` becomes `a/b.py`."""
    for name, text in files.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(text, encoding="utf-8")
    return folder


def code(entry: str | Path) -> str:
    """Return the fingerprint of whole files."""
    root = sourcecode.root_of(str(entry))
    assert root is not None
    return sourcecode.read(root).code


def used(entry: str | Path, kind: str) -> str:
    """Return the fingerprint of an adapter."""
    root = sourcecode.root_of(str(entry))
    assert root is not None
    return sourcecode.read(root).of(kind).code


@pytest.mark.parametrize(
    "line",
    [
        "import helper",
        "from helper import up",
        "def later():\n    import helper",
        "import lib.helper",
        "from lib import helper",
        "import importlib\nimportlib.import_module('helper')",
        "from importlib import import_module\nimport_module('lib.helper')",
        "__import__('lib.helper')",
    ],
)
def test_a_change_of_an_imported_neighbour_changes_the_code(tmp_path, line):
    write(tmp_path, steps=line, **{"helper": "a = 1", "lib/helper": "a = 1"})
    before = code(tmp_path / "steps.py")
    write(tmp_path, **{"helper": "a = 2", "lib/helper": "a = 2"})
    assert code(tmp_path / "steps.py") != before


def test_a_change_of_a_file_that_is_not_imported_changes_nothing(tmp_path):
    names = "__import__('/other'); __import__(''); __import__('..'); __import__('o' + 'ther')"
    write(tmp_path, steps=f"import json, helper\n{names}", helper="a = 1", other="a = 1")
    before = code(tmp_path / "steps.py")
    write(tmp_path, other="a = 2")
    assert code(tmp_path / "steps.py") == before


def test_the_code_is_the_same_in_another_folder(tmp_path):
    for folder in ("one", "two"):
        write(tmp_path / folder, steps="import helper", helper="a = 1")
    assert code(tmp_path / "one/steps.py") == code(tmp_path / "two/steps.py")


def test_a_module_of_a_package_covers_relative_imports_and_its_packages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    parts = {
        "covered/__init__": "",
        "covered/steps": "from . import words\nfrom .deep.more import x\nimport neighbour",
    }
    parts |= {"covered/words": "", "covered/deep/more": "from .. import last", "covered/last": ""}
    write(tmp_path, **parts, **{"neighbour": "", "covered/unused": ""})
    root = sourcecode.root_of("covered.steps")
    assert root is not None
    files = {str(Path(file).relative_to(tmp_path)) for file in sourcecode.read(root).files}
    names = ("__init__", "deep/more", "last", "steps", "words")
    assert files == {f"covered/{name}.py" for name in names}


def test_a_package_behind_a_link_covers_what_it_imports(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, **{"versions/7/__init__": "", "versions/7/steps": "from linked import words"})
    write(tmp_path, **{"versions/7/words": "a = 1"})
    (tmp_path / "linked").symlink_to("versions/7")
    before = code("linked.steps")
    write(tmp_path, **{"versions/7/words": "a = 2"})
    assert code("linked.steps") != before


def test_a_file_behind_a_link_covers_the_neighbours_of_the_link(tmp_path):
    write(tmp_path, steps="import helper", helper="a = 1", **{"store/steps": "import helper"})
    (tmp_path / "steps.py").unlink()
    (tmp_path / "steps.py").symlink_to("store/steps.py")
    root = sourcecode.root_of(str(tmp_path / "steps.py"))
    assert root is not None
    assert {Path(file).name for file in sourcecode.read(root).files} == {"steps.py", "helper.py"}


def test_a_file_in_a_folder_that_kubernetes_updates_keeps_its_name(tmp_path):
    """The files of a ConfigMap are links to `..data`, a link to a folder that each update replaces."""
    for number in (1, 2):
        write(tmp_path / f"..{number}", steps=f"{SHOUT}# {number}")
    data, steps = tmp_path / "..data", tmp_path / "steps.py"
    data.symlink_to("..1")
    steps.symlink_to("..data/steps.py")
    loaded = load_adapters(Settings(adapters=(str(steps),)))["shout"]
    assert loaded.source == str(steps)
    watch, file = watched(tmp_path)

    data.unlink()
    data.symlink_to("..2")

    assert watch.changed() == {file}
    assert load_adapters(Settings(adapters=(str(steps),)))["shout"].source == loaded.source


def test_a_path_with_dots_means_the_file_that_the_system_opens(tmp_path):
    write(tmp_path, steps="a = 1", **{"real/steps": "a = 2", "real/deep/other": ""})
    (tmp_path / "link").symlink_to("real/deep")
    root = sourcecode.root_of(str(tmp_path / "link/../steps.py"))
    assert root is not None
    assert root.source == str(tmp_path / "real/steps.py")


def test_a_file_with_a_syntax_error_has_a_code(tmp_path):
    write(tmp_path, steps="def (")
    assert code(tmp_path / "steps.py").startswith("sha256:")


def test_built_in_steps_have_the_version_of_playhead_and_packages_their_own(tmp_path, monkeypatch):
    install(tmp_path, SHOUT.replace("shout", "call"), {"call": "calling_steps:call"}, "calling")
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load_adapters(Settings())
    assert loaded["passthrough"].code == f"playhead {__version__}"
    assert (loaded["call"].code, loaded["call"].source) == ("calling 1.0", "calling")


def test_a_package_that_is_installed_for_development_has_the_code_of_its_source(tmp_path, monkeypatch):
    install(tmp_path, SHOUT.replace("shout", "hail"), {"hail": "hailing_steps:hail"}, "hailing")
    about = '{"url": "file:///src", "dir_info": {"editable": true}}'
    (tmp_path / "hailing-1.0.dist-info/direct_url.json").write_text(about)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_adapters(Settings())["hail"].code == used(tmp_path / "hailing_steps.py", "hail")
    assert [root.source for root in plugins.code_roots(())] == ["hailing_steps"]


def test_the_adapters_of_a_file_have_the_code_that_they_use(tmp_path):
    steps = write(tmp_path, steps=SHOUT) / "steps.py"
    loaded = load_adapters(Settings(adapters=(str(steps),)))["shout"]
    assert (loaded.code, loaded.source) == (used(steps, "shout"), str(steps))
    assert [root.source for root in plugins.code_roots([str(steps)])] == [str(steps)]


def watched(folder: Path) -> tuple[CodeWatch, str]:
    file = str(folder / "steps.py")
    return CodeWatch([file]), file


def test_a_watch_notices_a_change_of_a_file_and_of_what_it_imports(tmp_path):
    write(tmp_path, steps="import helper", helper="a = 1")
    watch, file = watched(tmp_path)
    assert watch.changed() == set()
    write(tmp_path, helper="a = 2")
    assert watch.changed() == {file}
    write(tmp_path, helper="a = 1")
    assert watch.changed() == set(), "the code is again the one that was loaded"
    write(tmp_path, steps="import helper  # changed")
    assert watch.changed() == {file}


def test_a_watch_notices_that_a_file_is_deleted_or_created(tmp_path):
    watch, file = watched(tmp_path)
    assert watch.changed() == set()
    write(tmp_path, steps="")
    assert watch.changed() == {file}
    watch, file = watched(tmp_path)
    (tmp_path / "steps.py").unlink()
    assert watch.changed() == {file}


def test_threads_read_code_at_the_same_time(tmp_path):
    """CPython raised a SystemError if a garbage collection let another thread parse."""
    functions = "\n".join(f"def f{n}(a):\n    return [(a + {n}) * b for b in a]" for n in range(60))
    for name in "abcd":
        write(tmp_path / name, steps=functions)
    threshold = gc.get_threshold()

    def switch(*_: object) -> None:
        time.sleep(0.00005)

    gc.callbacks.append(switch)
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(4) as threads:
            codes = list(threads.map(code, [tmp_path / one / "steps.py" for one in "abcd"] * 8))
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(switch)
    assert len(set(codes)) == 1
