"""The commands on every page of the documentation work in order, and print what the page shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest
import yaml

from playhead.cli.init import FILES
from tests.acceptance import pages
from tests.acceptance.pages import FENCE, ROOT


def section(document: str, heading: str) -> str:
    """Return one section of a document, from its heading to the next one of the same level."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def commands(text: str) -> list[str]:
    """Return the lines that call `playhead`, from the code blocks without a language."""
    blocks = [body for language, body in FENCE.findall(text) if not language]
    return [line for block in blocks for line in block.splitlines() if line.startswith("playhead ")]


class Shell:
    """Runs commands in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = pages.environment()

    def type(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", line],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def copied(example: str, to: Path) -> Shell:
    left_out = shutil.ignore_patterns(".playhead", "__pycache__", "*.bak")
    return Shell(shutil.copytree(ROOT / "examples" / example, to / example, ignore=left_out))


#: Pages whose commands other tests run, on servers or with further checks.
BY_OTHERS: Final = {
    "docs/howto/python-client.md": "tests/acceptance/test_python_client_page.py",
    "docs/howto/production.md": "tests/deploy/test_production.py",
    "docs/howto/remote.md": "tests/acceptance/test_cli_server.py",
    "docs/reference/api.md": "tests/acceptance/test_reference_commands.py",
    "docs/reference/cli.md": "tests/acceptance/test_reference_commands.py",
}
#: Commands that are slow or come before the tests, and the file that runs them instead.
DONE_ELSEWHERE: Final = {
    "make setup": ".ci/run",
    "make lint": ".ci/run",
    "make test": ".ci/run",
    "make test-full": ".github/workflows/full.yml",
    "make coverage": ".github/workflows/ci.yml",
    "make plain": "tests/unit/test_plain.py",
    "make dist": ".ci/run",
    "make docs": "tests/acceptance/test_docs_site.py",
    "make screenshots": "tests/browser/test_pages_in_browser.py",
    ".ci/run": ".ci/run",
    'export PATH="$PWD/.venv/bin:$PATH"': "tests/acceptance/pages.py",
    "make demo": "tests/acceptance/test_demo.py",
    "make demo-production": "tests/deploy/test_production.py",
}


def contents(folder: Path) -> dict[Path, bytes]:
    """Return every file below a folder, with its content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(before: dict[Path, bytes], folder: Path) -> list[Path]:
    """Return the files that are missing, or whose content differs."""
    now = contents(folder)
    return [path for path, data in before.items() if now.get(path) != data]


def typed(*, howto: bool) -> list[str]:
    """Return the pages whose commands run from top to bottom: the how-to guides, or the other ones."""
    found = [path for path in pages.documents() if path not in BY_OTHERS and pages.read(path).commands]
    return [path for path in found if path.startswith("docs/howto/") == howto]


def check_commands(path: str, folder: Path) -> None:
    """Check that the commands of a page work, print what it shows, and change no tracked file."""
    if not path.startswith("docs/howto/") or path in NEED_A_CLONE:
        folder = pages.clone(folder)
    tracked = contents(folder)
    pages.type_page(pages.read(path), folder, DONE_ELSEWHERE)
    assert changed(tracked, folder) == [], f"{path} changes tracked files: copy them to scratch/ first"


@pytest.mark.slow
@pytest.mark.parametrize("path", typed(howto=False))
def test_the_commands_of_a_page_work_print_what_it_shows_and_change_no_tracked_file(path, tmp_path):
    check_commands(path, tmp_path)


#: How-to guides that are about a clone: they build images, or run the demo.
NEED_A_CLONE: Final = {"docs/howto/deploy.md", "docs/howto/production.md"}


def test_the_how_to_guides_need_no_clone():
    """A reader may have installed a wheel."""
    found = {path for path in pages.documents() if path.startswith("docs/howto/")}
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in found - NEED_A_CLONE}
    wrong = re.compile(r"\bclone\b|pip install '\.|(?<!\.\./)examples/\d\d")
    assert {path: wrong.findall(text) for path, text in texts.items() if wrong.search(text)} == {}


def test_the_tests_that_run_the_other_pages_exist():
    for page, test in BY_OTHERS.items():
        assert pages.read(page).commands
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")
    assert all((ROOT / by).exists() for by in DONE_ELSEWHERE.values())


def test_a_failing_command_or_a_wrong_output_on_a_page_is_found(tmp_path):
    def wrong(*parts: tuple[str, str]) -> str:
        page = pages.Page("page.md", tuple(pages.Part(kind, text) for kind, text in parts), ())
        with pytest.raises(AssertionError) as caught:
            pages.type_page(page, tmp_path, {})
        return str(caught.value)

    assert "'2 3' is not in" in wrong(("commands", "echo 1  2\necho 2 4\n"), ("output", "1 2\n2 3\n"))
    assert "exit code 3 in:\nexit 3" in wrong(("commands", "exit 3\n"))
    assert "exit code 99" in wrong(("commands", "true  # exit code 1\n"))
    shown = pages.Page(
        "page.md",
        (
            pages.Part("commands", "false    # exit code 1\nhere=1\n"),
            pages.Part("commands", "echo $here 0198c2a4-7d10-7c3e-8f00-5a1b2c3d4e5f and more\n"),
            pages.Part("output", "1   0198c2a4-0000-7c3e-8f00-5a1b2c3d4e5f …\n"),
        ),
        (),
    )
    pages.type_page(shown, tmp_path, {})


@pytest.mark.parametrize("document", pages.documents())
def test_the_code_blocks_of_a_page_can_be_parsed(document):
    for language, body in FENCE.findall((ROOT / document).read_text(encoding="utf-8")):
        if language == "python":
            compile(body, document, "exec")
        elif language == "yaml":
            list(yaml.safe_load_all(body))
        elif language == "toml":
            tomllib.loads(body)
        elif language == "json":
            json.loads(body)


def test_the_config_in_the_readme_is_that_of_init():
    [config] = [
        body
        for language, body in FENCE.findall(section("README.md", "What you type, and what you get"))
        if language == "yaml"
    ]
    written = yaml.safe_load(FILES["pipeline.yaml"])
    del written["routes"]["shorten"]["error_handling"]
    assert yaml.safe_load(config) == written


@pytest.mark.parametrize("document", pages.documents())
def test_links_between_documents_point_at_files(document):
    file = ROOT / document
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    # A link to a folder works on GitHub, but not on the site.
    assert [link for link in local if not (file.parent / link).is_file()] == []
