"""What README and the quickstart tell people to type works, in the order in which they tell it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(document: str, heading: str) -> str:
    """One section of a document, from its heading to the next of its rank."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def commands(text: str) -> list[str]:
    """The lines of its plain code blocks that call `playhead`."""
    blocks = [body for language, body in FENCE.findall(text) if not language]
    return [line for block in blocks for line in block.splitlines() if line.startswith("playhead ")]


class Shell:
    """A folder in which somebody types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PLAYHEAD_")}
        self.environment = {**inherited, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def type(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", line],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def make_segments_smaller(self) -> None:
        file = self.folder / "docs.yaml"
        text = file.read_text(encoding="utf-8")
        assert "max_characters: 1200" in text
        file.write_text(text.replace("max_characters: 1200", "max_characters: 600"), encoding="utf-8")


def copied(example: str, to: Path) -> Shell:
    left_out = shutil.ignore_patterns(".playhead", "__pycache__", "*.bak")
    return Shell(shutil.copytree(ROOT / "examples" / example, to / example, ignore=left_out))


@pytest.fixture
def example(tmp_path: Path) -> Shell:
    return copied("01-docs", tmp_path)


@pytest.mark.slow
def test_the_five_minutes_of_the_readme_end_at_a_page_across_a_replay(example):
    told = commands(section("README.md", "Five minutes"))
    change = next(i for i, line in enumerate(told) if line.startswith("playhead config apply"))
    for line in told[:change]:
        assert example.type(line)
    example.make_segments_smaller()
    for line in told[change:]:
        said = example.type(line)
    assert told[-1].startswith("playhead lineage")
    assert "/input/" in said
    assert "html" in said
    assert "(replayed)" in said


@pytest.mark.slow
def test_the_quickstart_works_from_the_run_to_the_lineage(example):
    for heading in ("2. Run", "3. Look"):
        for line in commands(section("docs/quickstart.md", heading)):
            assert example.type(line)
    example.make_segments_smaller()
    for heading in ("4. Change a step", "5. Replay"):
        for line in commands(section("docs/quickstart.md", heading)):
            said = example.type(line)
            if line == "playhead show latest":
                routes = [
                    row.split()[0] for row in said.splitlines() if row.startswith(("conv", "segm", "inde"))
                ]
                assert {"segment", "index"} <= set(routes)
    assert "(replayed)" in said


@pytest.mark.slow
def test_the_config_in_the_readme_is_valid(example):
    (config,) = [
        body for language, body in FENCE.findall(section("README.md", "Five minutes")) if language == "yaml"
    ]
    (example.folder / "readme.yaml").write_text(config, encoding="utf-8")
    example.type("playhead config validate readme.yaml")


@pytest.mark.slow
def test_the_adapter_in_the_readme_is_taken_and_run_by_its_config(example):
    (steps,) = [
        body
        for language, body in FENCE.findall(section("README.md", "Your own adapter"))
        if language == "python"
    ]
    (config,) = [
        body
        for language, body in FENCE.findall(section("README.md", "Your own adapter"))
        if language == "yaml"
    ]
    (example.folder / "steps.py").write_text(steps, encoding="utf-8")
    (example.folder / "mine.yaml").write_text(config, encoding="utf-8")
    example.environment["PLAYHEAD_ADAPTERS"] = "./steps.py"
    assert "min_length" in example.type("playhead adapters sentences")
    for line in commands(section("README.md", "Your own adapter")):
        said = example.type(line)
    assert "/sentences/guide/replay/0001.txt" in said


@pytest.mark.slow
def test_the_second_example_mends_its_step_and_replays_only_that(tmp_path):
    shell = copied("02-own-adapter", tmp_path)
    text = (shell.folder / "README.md").read_text(encoding="utf-8")
    said = shell.type("\n".join(body for language, body in FENCE.findall(text) if language == "sh"))
    assert "Is green tea bitter? Only when the water is too hot" in said, "the fault is shown"
    assert re.search(r"^markdown +0 ", said, re.MULTILINE), "nothing was converted again"
    assert re.search(r"^sentences +10 ", said, re.MULTILINE), "ten sentences where there were seven"
    assert "(replayed)" in said


def documents() -> list[str]:
    """All documents; not the objects of a home that somebody who tried an example has made there."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    paths = [p.relative_to(ROOT) for p in found]
    return sorted(str(p) for p in paths if not any(part.startswith(".") for part in p.parts))


@pytest.mark.parametrize("document", documents())
def test_links_between_documents_lead_somewhere(document):
    file = ROOT / document
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (file.parent / link).exists()] == []
