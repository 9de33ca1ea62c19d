"""Shells that complete a line of `playhead`: the program's answers, and real shells at a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from tests import program
from tests.waiting import eventually

NOTHING: Mapping[str, str] = MappingProxyType({})
ANY_SHELL = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
"""Lets the shell be named; else it is the one that typer finds above it."""
BIN = Path(sys.executable).parent
DUMP = {
    "zsh": (
        "autoload -Uz compinit; compinit -u -D; "
        r"""dump() { print -r -- "$BUFFER" >line; }; zle -N dump; bindkey '^X^D' dump"""
    ),
    "bash": r"""dump() { printf '%s\n' "$READLINE_LINE" >line; }; bind -x '"\C-x\C-d": dump'""",
}


def asking(shell: str, line: str) -> dict[str, str]:
    """The variables by which a shell asks what a line may become."""
    words = line.split(" ")
    return {
        "_PLAYHEAD_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }


class Folder:
    """A folder in which something ran, and shells in it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PLAYHEAD_", "_TYPER"))}
        # The forked program answers in a tenth of the time that the installed one takes.
        path = f"{program.folder()}:{BIN}:{os.environ['PATH']}"
        self.env = {**inherited, "PATH": path, "HOME": str(folder)}

    def run(self, *command: str, code: int | None = 0, env: Mapping[str, str] = NOTHING) -> str:
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        self.err = done.stderr
        return done.stdout

    def tab(self, line: str, **env: str) -> list[str]:
        """What bash offers at the end of a line, by its own rules for words, and typer's script for it."""
        script = self.path / "completion.bash"
        if not script.exists():
            script.write_text(self.script("bash"))
        # What bash itself does before it calls the function: words end at blanks, and at `:` and `=`.
        words = [word for word in re.findall(r"[:=]|(?:[^\s:=\\]|\\.)+", line) if word]
        if line.endswith(" "):
            words.append("")
        probe = (
            'source completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            '_playhead_completion "$1"; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        offered = self.run("bash", "-c", probe, "bash", *words, env=env).splitlines()
        assert self.err == "", "completion prints no errors"
        return [value for value in offered if value]

    def asked(self, shell: str, line: str) -> str:
        """What the program answers to zsh or fish."""
        return self.run("playhead", env=asking(shell, line))

    def script(self, shell: str) -> str:
        return self.run("playhead", "--show-completion", shell, env=ANY_SHELL)


class Terminal:
    """An interactive shell that has loaded the completion script."""

    def __init__(self, folder: Folder, shell: str) -> None:
        (folder.path / f"completion.{shell}").write_text(folder.script(shell))
        self._written = folder.path / "line"
        quiet = {"zsh": ["-f", "-i"], "bash": ["--norc", "--noprofile", "-i"]}[shell]
        own, theirs = pty.openpty()
        self._keys = own
        self._shell = subprocess.Popen(
            [shell, *quiet],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder.path,
            env={**folder.env, "TERM": "dumb", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        os.close(theirs)
        self.screen = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        self._type(f"{DUMP[shell]}; source completion.{shell}; PS1=; echo rea''dy\n")
        eventually(lambda: b"ready" in self.screen, "the shell has loaded the script")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.kill()
        self._shell.wait()
        self._reading.join()
        os.close(self._keys)

    def tab(self, line: str) -> str:
        """Type a line, press Tab, and return the line as it is then."""
        self._written.unlink(missing_ok=True)
        self._type(f"{line}\t\x18\x04")
        eventually(self._written.exists, "the shell has completed the line")
        eventually(lambda: self._written.read_text().endswith("\n"), "the line is written")
        self._type("\x15")
        return self._written.read_text().strip()

    def _type(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def _read(self) -> None:
        with suppress(OSError):
            while more := os.read(self._keys, 65536):
                self.screen += more
