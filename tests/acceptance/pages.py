"""Run the pages of the documentation: their commands, their files, and the output that they show.

How to write a page so that it can run:

- Blocks in `sh`, or without a language, hold commands. They run in order in one shell per page. The shell
  starts in a folder with a copy of `examples/`. `# exit code 1` at the end of a line gives its exit code.
- A block in another language whose first line is a comment with a file name (`# steps.py`) becomes that file.
- The lines of a block in `text` must appear, in order, in the output of the commands before it. `…` matches
  anything. An id or a time matches any other.
- A paragraph `*Not run by the tests: reason.*` excludes all commands up to the next heading. Before the first
  heading of level 2 it excludes the whole page.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import program
from tests.servers.process import free_port

ROOT: Final = Path(__file__).parents[2]
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_NOT_RUN: Final = re.compile(r"^\*Not run by the tests: ([^*]+)\*$", re.MULTILINE)
_PART: Final = re.compile(
    rf"^(?P<heading>#+ [^\n]*)$|{_NOT_RUN.pattern}|{FENCE.pattern}", re.MULTILINE | re.DOTALL
)
_NAMED: Final = re.compile(r"^# ([\w./-]+\.\w+)\n")
_COMMAND: Final = re.compile(
    r"(playhead|make|curl|pip|python3?|export|cd|docker|kubectl|helm|nats|rabbitmqctl|sed|cat|cp|mkdir|\.ci/run)\b"
    r"|[A-Z_]+=",
    re.MULTILINE,
)
_ADDRESS: Final = re.compile(r"(?:127\.0\.0\.1|localhost):(\d{4,5})")
_ENDS_WITH: Final = re.compile(r"^(.*\S)\s+# exit code (\d+)$")
_ANY: Final = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": r"[0-9a-f-]{36}",
    r"\b[0-9a-f]{8}\b": r"[0-9a-f]{8}",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?",
    "…": ".*",
}
_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a page.

    Attributes:
        kind: `commands`, `file` or `output`.
        name: the name of the file; empty for the other kinds.
    """

    kind: str
    text: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page that can run.

    Attributes:
        path: relative to the repository.
        parts: commands to run, files to write and output to compare, in order.
        left_out: commands that do not run, each with the reason that the page gives.
    """

    path: str
    parts: tuple[Part, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def commands(self) -> list[str]:
        return [part.text for part in self.parts if part.kind == "commands"]


def read(path: str) -> Page:
    """Read a page, by its path in the repository."""
    text = (ROOT / path).read_text(encoding="utf-8")
    parts: list[Part] = []
    left_out: list[tuple[str, str]] = []
    of_page = _NOT_RUN.search(text.partition("\n## ")[0])
    reason = page_reason = " ".join(of_page[1].split()) if of_page else ""
    for found in _PART.finditer(text):
        said, language, body = found.groups()[1:]
        if found["heading"]:
            reason = page_reason
        elif said:
            reason = " ".join(said.split())
        elif not (part := _part(language, body)):
            continue
        elif reason:
            if part.kind == "commands":
                left_out.append((part.text, reason))
        else:
            parts.append(part)
    return Page(path, tuple(parts), tuple(left_out))


def _part(language: str, body: str) -> Part | None:
    if language in ("sh", ""):
        return Part("commands", body) if language or _COMMAND.match(body) else None
    if language == "text":
        return Part("output", body)
    named = _NAMED.match(body)
    return Part("file", body, named[1]) if named else None


def documents() -> list[str]:
    """Return the paths of all documents, except stored objects in a `.playhead` folder of an example."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    paths = [p.relative_to(ROOT) for p in found]
    return sorted(str(p) for p in paths if not any(part.startswith(".") for part in p.parts))


# -- running ----------------------------------------------------------------------------------------


def clone(folder: Path) -> Path:
    """Copy what the pages need from the repository into a folder: the examples. Return the folder."""
    left_out = shutil.ignore_patterns(".playhead", "__pycache__", "*.bak")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=left_out)
    return folder


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a user who has installed Playhead and set nothing."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PLAYHEAD_", "OTEL_", "PYTEST_"))}
    folders = [program.folder(), Path(sys.executable).parent, os.environ["PATH"]]
    return {**inherited, "PATH": ":".join(map(str, folders)), **more}


def type_page(page: Page, folder: Path, without: Mapping[str, str], **settings: str) -> dict[int, str]:
    """Run a page from top to bottom. Fail if a command fails, or if its output differs from the page.

    Args:
        folder: where the shell starts.
        without: lines to skip.
        settings: environment variables of the shell.

    Returns:
        The output of each part, by its number.
    """
    whole = "".join(part.text for part in page.parts)
    ports = {port: str(free_port()) for port in sorted(set(_ADDRESS.findall(whole)) | {"8080"})}

    def moved(text: str) -> str:
        return _ADDRESS.sub(lambda m: m[0].replace(m[1], ports[m[1]]), text)

    script = [
        "set -eu",
        *(
            f"printf '\\n\\036{number}\\n'\n{_script(part, moved, without)}"
            for number, part in enumerate(page.parts)
            if part.kind != "output"
        ),
    ]
    given = environment(PLAYHEAD_PORT=ports["8080"], **settings)
    code, said = _run("\n".join(script), folder, given)
    pieces = dict(_pieces(said))
    last = max(pieces, default=0)
    assert code == 0, f"{page.path}, exit code {code} in:\n{page.parts[last].text}\n{pieces.get(last, said)}"
    before = None
    for number, part in enumerate(page.parts):
        if part.kind != "output":
            before = number
        elif before is not None:  # without a command before it, it is only an illustration
            _compare(page, moved(part.text), pieces[before])
    return pieces


def _script(part: Part, moved: Callable[[str], str], without: Mapping[str, str]) -> str:
    if part.kind == "file":
        folder = Path(part.name).parent
        return f"mkdir -p -- {folder}\ncat >{part.name} <<'END OF FILE'\n{part.text}END OF FILE\n"
    lines = []
    for line in moved(part.text).splitlines():
        bare = re.sub(r"\s+#.*", "", line)
        if bare in without:
            continue
        if ends := _ENDS_WITH.match(line):
            lines.append(f"set +e; {ends[1]}\n[ $? = {ends[2]} ] || exit 99; set -e")
        else:
            lines.append(line)
    return "\n".join(lines)


def _run(script: str, folder: Path, settings: Mapping[str, str]) -> tuple[int, str]:
    """Run a script in a new session. Kill all processes that it leaves running."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as sink:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            for how in (signal.SIGTERM, signal.SIGKILL):
                _end(shell.pid, how)
            shell.wait()
        sink.seek(0)
        return code, sink.read()


def _end(group: int, how: signal.Signals) -> None:
    try:
        os.killpg(group, how)
    except ProcessLookupError:
        pass


def _pieces(said: str) -> Iterator[tuple[int, str]]:
    for piece in said.split("\n\x1e")[1:]:
        number, _, text = piece.partition("\n")
        yield int(number), text


def _compare(page: Page, shown: str, said: str) -> None:
    """Check that every shown line was printed, in that order; spaces do not matter."""
    lines = iter([" ".join(line.split()) for line in said.splitlines()])
    for line in shown.splitlines():
        if not (wanted := " ".join(line.split())):
            continue
        pattern = re.compile(_pattern(wanted))
        assert any(pattern.fullmatch(line) for line in lines), (
            f"{page.path} shows:\n{shown}\nbut {wanted!r} is not in:\n{said}"
        )


def _pattern(line: str) -> str:
    """Return the regular expression of a shown line."""
    loose = re.compile("|".join(f"({pattern})" for pattern in _ANY))
    kinds = list(_ANY.values())
    pieces, at = [], 0
    for found in loose.finditer(line):
        assert found.lastindex
        pieces += [re.escape(line[at : found.start()]), kinds[found.lastindex - 1]]
        at = found.end()
    return "".join([*pieces, re.escape(line[at:])])
