"""The first five minutes: the wheel in an empty environment and an empty folder, without the repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS = 300


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PLAYHEAD_", "PYTHON"))}
    return subprocess.run(
        command,
        cwd=folder,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Installation:
    """The program `playhead` of a wheel, in an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        self.bin = folder / "venv" / "bin"
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
        built = run(build, ROOT, GITHUB_REPOSITORY="Owner/playhead")
        assert built.returncode == 0, built.stderr
        [wheel] = folder.glob("*.whl")
        venv.create(folder / "venv", with_pip=False)
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "--quiet", "install"]
        installed = run([*pip, "--no-deps", "--no-index", str(wheel)], folder)
        assert installed.returncode == 0, installed.stderr
        # The libraries come from the environment of the tests. The tree is installed there, too, by a `.pth`
        # file. Python reads no such file in a folder that another one names, so the tree is not found.
        site = next((folder / "venv" / "lib").glob("python*/site-packages"))
        (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
        self.path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"

    def __call__(self, command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return run(["bash", "-euc", command], folder or self.folder, PATH=self.path)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("wheel"))


def test_the_program_is_that_of_the_wheel(installation: Installation):
    found = installation(f"{installation.bin}/python -c 'import playhead; print(playhead.__file__)'")
    assert found.stdout.startswith(str(installation.bin.parent)), found.stdout + found.stderr


def test_the_metadata_has_the_addresses_of_the_project_and_the_software_that_it_contains(
    installation: Installation,
):
    (about,) = installation.bin.parent.glob("lib/*/site-packages/playhead-*.dist-info")
    assert "Project-URL: Source, https://github.com/Owner/playhead" in (about / "METADATA").read_text("utf-8")
    assert json.loads((about / "sboms/sbom.cdx.json").read_text("utf-8"))["bomFormat"] == "CycloneDX"


def test_a_new_user_is_told_where_to_start(installation: Installation, tmp_path: Path):
    assert "Start with `playhead init`" in " ".join(installation("playhead --help").stdout.split())
    lost = installation("playhead show", tmp_path)
    assert lost.returncode == 4
    assert "playhead init" in lost.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_commands_of_the_readme_work_in_an_empty_folder(installation: Installation):
    section = README.partition("\n## What you type, and what you get\n")[2].partition("\n## ")[0]
    [block] = re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)
    create, install, *commands = block.splitlines()
    assert create.startswith("python3 -m venv ")
    assert install == "pip install playhead-*.whl"
    done = installation("\n".join(commands))
    assert done.returncode == 0, done.stdout + done.stderr
    printed = [command.partition("# prints: ")[2] for command in commands]
    assert done.stdout.endswith("".join(filter(None, printed))), done.stdout
    first = installation.folder / "first"
    assert "status    completed" in installation("playhead show", first / "inputs").stdout
