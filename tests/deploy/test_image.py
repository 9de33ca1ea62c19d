"""The Dockerfile: linted, and its steps executed without an engine.

The result is mounted where the image has it. It runs as the image would: as its user, with its variables, on
a read-only root file system, in its own process namespace. This needs root and Linux. The base image and the
engine are not tested here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.checks import ROOT, run, status, tool
from tests.servers import Missing, absent
from tests.servers.process import free_port

# The first test builds the image. Each step may take ten minutes.
pytestmark = pytest.mark.timeout(1800)

DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
HOME: Final = "/var/lib/playhead"
INSIDE: Final = textwrap.dedent("""\
    set -eu
    new=$1 venv=$2 home=$3 user=$4; shift 4
    mount --make-rprivate /
    mount --bind / "$new"
    mount -t tmpfs none "$new/opt"
    mkdir "$new/opt/playhead"
    mount --bind "$venv" "$new/opt/playhead"
    mount -t tmpfs none "$new/var/lib"
    mkdir "$new/var/lib/playhead"
    mount --bind "$home" "$new/var/lib/playhead"
    mount -o remount,bind,ro "$new"
    mount -o remount,ro "$new/opt"
    mount -o remount,ro "$new/var/lib"
    mount -t tmpfs -o mode=1777 none "$new/tmp"
    mount -t proc none "$new/proc"
    exec /usr/sbin/chroot "$new" setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs \\
      --bounding-set -all --inh-caps -all sh -euc 'cd /var/lib/playhead; exec "$@"' sh "$@"
""")


@dataclass(frozen=True)
class Instruction:
    """A line of a Dockerfile, with its continuation lines."""

    word: str
    rest: str


def stages() -> list[list[Instruction]]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    found: list[list[Instruction]] = [[]]
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append(Instruction(word, " ".join(rest.split())))
    return found[1:]


def all_of(word: str, stage: list[Instruction]) -> list[str]:
    return [instruction.rest for instruction in stage if instruction.word == word]


def variables(stage: list[Instruction]) -> dict[str, str]:
    return dict(pair.split("=", 1) for line in all_of("ENV", stage) for pair in line.split())


# -- the file --------------------------------------------------------------------------------------


def test_the_line_that_adds_adapters_is_a_valid_pip_command(tmp_path: Path):
    page = (ROOT / "docs" / "howto" / "deploy.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^RUN (pip .*)$", page, re.MULTILINE)
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("")
    for theirs, ours in {"/opt/playhead/bin/python": sys.executable, "/src/my_steps": f"-r {wanted}"}.items():
        assert theirs in line
        line = line.replace(theirs, ours)
    said = run(sys.executable, "-m", *line.split())
    assert said.returncode == 0, said.stderr


def test_hadolint_reports_nothing():
    said = run(tool("hadolint"), str(DOCKERFILE))
    assert (said.stdout + said.stderr, said.returncode) == ("", 0)


def test_exactly_the_copied_files_are_in_the_build_context():
    build, _ = stages()
    copied = {source for line in all_of("COPY", build) for source in line.split()[:-1]}
    first, *rules = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert first == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_the_image_runs_as_a_numeric_user_under_an_init_and_installs_nothing():
    build, image = stages()
    (user,) = all_of("USER", image)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert json.loads(all_of("ENTRYPOINT", image)[0]) == ["/usr/local/bin/tini", "--", "playhead"]
    # Not insecure by default: the operator must choose it.
    assert json.loads(all_of("CMD", image)[0]) == ["--help"]
    (made,) = all_of("RUN", image)
    assert re.findall(r"\b(apt-get|pip|uv|curl|wget|gcc)\b", made) == []
    assert "gcc" not in DOCKERFILE.read_text(encoding="utf-8")
    assert all_of("FROM", build)[0].split()[0] == all_of("FROM", image)[0]


# -- the result ------------------------------------------------------------------------------------


@dataclass
class Image:
    """The result of the Dockerfile's steps, and ways to run it."""

    folder: Path
    user: str
    environment: dict[str, str]

    def command(self, arguments: Sequence[str]) -> list[str]:
        new, home = self.folder / "root", self.folder / "home"
        new.mkdir(exist_ok=True)
        home.mkdir(exist_ok=True)
        os.chown(home, int(self.user), int(self.user))
        paths = (str(new), str(self.folder / "opt" / "playhead"), str(home), self.user)
        inside = ("bash", "-c", INSIDE, "bash", *paths, *arguments)
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *inside]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(arguments),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    uv = tool("uv")
    python = next((p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if fits(p)), None)
    if sys.platform != "linux" or os.geteuid() != 0:
        # No package provides that, so PLAYHEAD_TEST_REQUIRE cannot name it.
        absent(
            Missing("image", "the steps of the Dockerfile are not done", "run the tests on Linux, as root")
        )
    if not can_mount():
        absent(Missing("deploy-image", "unshare may not make name spaces here", "apt-get install util-linux"))
    if python is None:
        absent(Missing("deploy-image", "there is no Python for all users", "apt-get install python3-venv"))
    build, final = stages()
    folder = tmp_path_factory.mktemp("image")
    work, opt, dist = folder / "build", folder / "opt", folder / "dist"
    for made in (work, opt):
        made.mkdir()
    for line in all_of("COPY", build):
        *sources, target = line.split()
        for source in sources:
            to = work / target / Path(source).name if target == "./" else work / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, to)
    environment = {
        "PATH": f"{Path(uv).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "UV_PYTHON": python,
        **variables(build),
        **{name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_", "SSL_"))},
    }
    for step in all_of("RUN", build):
        if step.startswith("uv "):
            outside = f"mount --make-rprivate / && mount --bind {opt} /opt && cd {work}"
            subprocess.run(
                ["unshare", "--mount", "sh", "-euc", f"{outside} && {step.replace('/dist', str(dist))}"],
                env=environment,
                check=True,
                timeout=600,
            )
    told = {name: value.replace("$PATH", "/usr/bin:/bin") for name, value in variables(final).items()}
    return Image(folder, all_of("USER", final)[0].split(":")[0], told)


def fits(python: str) -> bool:
    asked = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    return Path(python).exists() and run(python, "-c", asked).returncode == 0


def can_mount() -> bool:
    return (
        shutil.which("unshare") is not None
        and run("unshare", "--mount", "--pid", "--fork", "true").returncode == 0
    )


@pytest.mark.full
def test_it_contains_the_locked_packages_and_every_backend(image):
    said = image.run(
        "python",
        "-c",
        "import playhead, sys, nats, aiormq, asyncpg, obstore; print(playhead.__file__, sys.prefix)",
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split()[1] == "/opt/playhead"
    assert said.stdout.startswith("/opt/playhead/lib/")


@pytest.mark.full
@pytest.mark.parametrize("module", ["pytest", "mypy", "moto", "helm_python", "pip"])
def test_it_contains_no_build_or_test_tools(image, module: str):
    assert "ModuleNotFoundError" in image.run("python", "-c", f"import {module}").stderr


@pytest.mark.full
def test_it_runs_a_pipeline_on_a_read_only_root_file_system(image):
    pages = ROOT / "examples" / "01-docs"
    mounts = [line.split() for line in image.run("cat", "/proc/self/mounts").stdout.splitlines()]
    assert {m[3].split(",")[0] for m in mounts if m[1] in ("/", "/opt", "/var/lib")} == {"ro"}
    assert image.run("id", "-u").stdout == "10001\n"
    (image.folder / "home").mkdir(exist_ok=True)
    shutil.copytree(pages / "pages", image.folder / "home" / "pages")
    shutil.copy(pages / "docs.yaml", image.folder / "home")
    said = image.run("playhead", "run", "docs.yaml", "pages/", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["status"] == "completed"
    assert (image.folder / "home" / "playhead.db").stat().st_uid == int(image.user)


@pytest.mark.full
def test_as_process_1_it_serves_and_stops_on_sigterm_within_its_grace_period(image):
    port = free_port()
    arguments = ("serve", "--host", "0.0.0.0", "--port", str(port), "--insecure", "--workers", "1")
    server = subprocess.Popen(image.command(("playhead", *arguments)), env=image.environment)
    try:
        assert status(port, "/healthz") == 200
        assert status(port, "/readyz") == 200
        said = image.run(*health_check(port))
        assert said.returncode == 0, said.stderr
        began = time.monotonic()
        os.kill(only_child(server.pid), signal.SIGTERM)
        assert server.wait(timeout=120) == 0
        assert time.monotonic() - began < 10
        assert image.run(*health_check(port)).returncode != 0
    finally:
        server.kill()
        server.wait()


def health_check(port: int) -> list[str]:
    """The health check of compose.yaml."""
    import yaml

    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    kind, *command = services["server"]["healthcheck"]["test"]
    assert kind == "CMD"
    return [part.replace(":8080/", f":{port}/") for part in command]


def only_child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)
