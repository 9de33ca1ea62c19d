"""The workflows, and the pinned packages that they install."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.checks import ROOT, run, tool

WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED: Final = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows" / name).read_text(encoding="utf-8"))[
        "jobs"
    ]
    return found


def commands(name: str) -> str:
    return "\n".join(str(step.get("run", "")) for job in jobs(name).values() for step in job.get("steps", []))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_their_version_next_to_it(path: Path) -> None:
    uses = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert uses
    assert [line for line in uses if not line.startswith("./") and not PINNED.match(line)] == []


def test_an_action_has_one_commit_in_all_workflows() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    found = set(re.findall(r"uses: ([\w.-]+/[\w.-]+)@(\w+) # (\S+)", text))
    assert len(found) == len({action for action, _, _ in found})


def test_a_static_check_of_the_workflows_finds_nothing() -> None:
    checked = run(tool("zizmor"), "--offline", "--no-progress", "--format", "plain", str(ROOT / ".github"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_has_a_time_limit_and_no_workflow_writes_by_default(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        assert "uses" in job or "timeout-minutes" in job, name


def test_the_workflows_call_targets_and_scripts_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in WORKFLOWS:
        said = commands(path.name)
        called = {word for line in re.findall(r"\bmake ([a-z -]+)", said) for word in line.split()}
        assert called <= targets, path.name
        assert all((ROOT / name).exists() for name in re.findall(r"(?:^|\s)(\.ci/\w+)", said)), path.name


def test_the_tests_of_every_folder_run_against_the_wheel() -> None:
    folders = {f"tests/{file.parent.name}" for file in (ROOT / "tests").glob("*/test_*.py")}
    matrix = " ".join(jobs("ci.yml")["test"]["strategy"]["matrix"]["tests"]).split()
    assert {*matrix, "tests/deploy"} == folders
    assert "make test-deploy PROJECT=" in commands("ci.yml")
    assert all(jobs("ci.yml")[job]["env"]["PLAYHEAD_TEST_INSTALLED"] for job in ("test", "image", "coverage"))


def test_nothing_is_published_before_the_notes_and_all_checks() -> None:
    release = jobs("release.yml")

    def before(name: str) -> set[str]:
        needs = release[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*map(before, direct))

    for name, job in release.items():
        if any(right == "write" for right in job["permissions"].values()):
            assert {"notes", "ci"} <= before(name), name


@pytest.mark.parametrize(
    ("tag", "tags"),
    [("v0.2.10", ["0.2.10", "0.2"]), ("v1.0.0", ["1.0.0", "1.0"]), ("v0.2.0rc1", ["0.2.0rc1"])],
)
def test_an_image_is_tagged_with_its_version_and_with_that_of_its_series(
    tmp_path: Path, tag: str, tags: list[str]
) -> None:
    (step,) = [one for one in jobs("release.yml")["image"]["steps"] if one.get("id") == "name"]
    outputs = {
        "GITHUB_REPOSITORY_OWNER": "Owner",
        "GITHUB_REF_NAME": tag,
        "GITHUB_OUTPUT": str(tmp_path / "out"),
    }
    subprocess.run(["bash", "-euc", step["run"]], env=outputs, check=True)
    said = dict(line.split("=", 1) for line in (tmp_path / "out").read_text().splitlines())
    assert said["tags"].split(",") == [f"ghcr.io/owner/playhead:{one}" for one in tags]


@pytest.mark.parametrize("groups", [[], ["dev", "servers"], ["docs"], ["deploy"], ["build", "release"]])
def test_pip_installs_the_packages_that_uv_would(groups: list[str]) -> None:
    named = [argument for group in groups for argument in ("--group", group)]
    ours = run(
        sys.executable,
        "tools/pins.py",
        "--project",
        "--extra",
        "production",
        "--extra",
        "oidc",
        "--extra",
        "otel",
        *named,
    )
    theirs = run(
        *(
            tool("uv"),
            "export",
            "--quiet",
            "--locked",
            "--offline",
            "--no-emit-project",
            "--no-default-groups",
        ),
        *(
            "--extra",
            "production",
            "--extra",
            "oidc",
            "--extra",
            "otel",
            "--no-annotate",
            "--no-header",
            *named,
        ),
    )
    assert theirs.returncode == 0, theirs.stderr
    assert hashed(ours.stdout) == hashed(theirs.stdout)


def hashed(requirements: str) -> dict[str, set[str]]:
    """Return the hashes of each `name==version`."""
    entries = requirements.replace("\\\n", " ").splitlines()
    return {entry.split()[0]: set(re.findall(r"--hash=(\S+)", entry)) for entry in entries}


def test_every_requirement_has_a_hash() -> None:
    everything = hashed(run(sys.executable, "tools/pins.py").stdout)
    assert len(everything) > 100
    assert all(everything.values())
