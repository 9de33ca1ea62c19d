"""The examples of docs/reference/api.md and cli.md are run, each of them, and end as they should."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance import pages
from tests.servers import Missing, absent
from tests.servers.process import free_port
from tests.waiting import eventually
from tools.reference import api, cli

pytestmark = pytest.mark.slow

#: Where an example ends with another exit code than 0, as what it names is made up or has ended.
ENDS_WITH: Final = {
    "cancel": 1,
    "cat": 4,
    "lineage": 4,
    "config show": 4,
    **dict.fromkeys(("causes show", "causes objects", "causes replay"), 4),
    **dict.fromkeys(("causes acknowledge", "causes unacknowledge"), 4),
    "dead-letters show": 4,
    "sessions revoke": 4,
    "publications cancel": 4,
    "replays pause": 1,
    "replays report": 4,
    "replays resume": 1,
    "replays cancel": 1,
    "replays pace": 1,
}
#: `demo` and `login` have tests of their own; the other two stay until they are stopped.
NOT_TYPED: Final = frozenset({"demo", "serve", "worker", "login"})

_CURL = """\
#!/bin/sh
# The stream of a dataset has no end. A request without any response has the status 000.
[ "$1" = -sN ] && seconds=5 || seconds=30
{real} --max-time $seconds -w '\\nHTTP %{{http_code}}' "$@" || [ $? = 28 ]
"""


def test_every_operation_of_the_api_page_answers_as_it_says(tmp_path: Path):
    real = shutil.which("curl")
    if real is None:
        absent(Missing("docs", "curl is not installed", "apt-get install curl"))
    wrapped = tmp_path / "bin" / "curl"
    wrapped.parent.mkdir()
    wrapped.write_text(_CURL.format(real=real), encoding="utf-8")
    wrapped.chmod(0o755)
    path = pages.environment()["PATH"]

    page = pages.read("docs/reference/api.md")
    # Log lines of the server would otherwise appear in the middle of an answer.
    quiet = {"PATH": f"{wrapped.parent}:{path}", "PLAYHEAD_LOG_LEVEL": "error"}
    said = pages.type_page(page, pages.clone(tmp_path), {}, **quiet)
    typed = {part.text.strip(): said[number] for number, part in enumerate(page.parts) if number in said}
    for operation in api.operations():
        answer = typed[api.example(operation)]
        body, _, status = answer.rpartition("\nHTTP ")
        example = operation.example
        fine = int(status) == example.status
        if not example.status or example.is_early:
            fine = fine or 200 <= int(status) < 300
        assert fine, f"{operation.title}: {answer}"
        assert int(status) in operation.statuses, f"{operation.title} does not document {status}"
        assert body or status == "204", operation.title


def test_every_example_of_the_command_line_page_ends_as_it_should(tmp_path: Path):
    folder = pages.clone(tmp_path) / "examples" / "01-docs"
    examples = {words: entry.example for words, entry, _ in cli.commands()}
    port = str(free_port())

    def start(words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            shlex.split(examples[words].replace("8080", port)),
            cwd=folder,
            env=pages.environment(),
            stdin=subprocess.DEVNULL,
            stderr=log,
        )

    with (tmp_path / "log").open("w") as log:
        staying = [start("serve"), start("worker")]
        try:
            eventually(lambda: "listening" in (tmp_path / "log").read_text())
            for words, example in examples.items():
                if words in NOT_TYPED:
                    continue
                done = subprocess.run(
                    shlex.split(example),
                    cwd=folder,
                    env=pages.environment(),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )
                assert done.returncode == ENDS_WITH.get(words, 0), f"{example}\n{done.stdout}{done.stderr}"
        finally:
            for process in staying:
                process.send_signal(signal.SIGTERM)
            ended = [process.wait(60) for process in staying]
        assert ended == [0, 0]
