"""The key that a client sends to a server: where it comes from, and to which servers it may go.

`playhead.toml` of a cloned repository may name a server. So a key of the environment goes only to a server
that a flag, an argument or the environment names, and a stored key only to the origin for which a person has
stored it. No setting of `playhead.toml` names a key: a command there would run without a question.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from playhead.addresses import is_loopback
from playhead.credentials import key_id
from playhead.errors import CannotStart

KEY: Final = "PLAYHEAD_KEY"
KEY_FILE: Final = "PLAYHEAD_KEY_FILE"
KEY_COMMAND: Final = "PLAYHEAD_KEY_COMMAND"
VARIABLES: Final = (KEY, KEY_FILE, KEY_COMMAND)
_PORTS: Final = {"http": 80, "https": 443}
_COMMAND_SECONDS: Final = 60


class ClientKey(NamedTuple):
    """A key, and where it was found. Its text is not shown.

    Attributes:
        text: the key.
        source: for people: the variable or the file.
    """

    text: str
    source: str

    def __repr__(self) -> str:
        return f"<key {key_id(self.text) or 'of unknown form'} of {self.source}>"


def key_for(
    server: str, *, is_chosen: bool, file: str | None = None, allows_http: bool = False
) -> ClientKey | None:
    """Return the key for a server; None: there is none.

    Args:
        server: its address.
        is_chosen: a flag, an argument or the environment names the server, not a file of a project.
        file: `--key-file`.
        allows_http: the key may be sent over `http` to another machine.

    Raises:
        CannotStart: `setup_invalid`; the key cannot be read, or would be sent over `http` to another machine.
    """
    found = _chosen(file) if is_chosen else None
    found = found or _stored(server)
    if found:
        check(found, server, allows_http=allows_http)
    return found


def check(key: ClientKey, server: str, *, allows_http: bool = False) -> None:
    """Check the form of a key, and that nobody on the way to a server can read it.

    Raises:
        CannotStart: `setup_invalid`.
    """
    if key_id(key.text) is None:
        raise CannotStart(
            "setup_invalid",
            f"{key.source} has no key: a key begins with phk_ and has 51 characters, all on one line",
        )
    parts = urlsplit(server)
    if parts.scheme == "http" and not (allows_http or is_loopback(parts.hostname or "")):
        raise CannotStart(
            "setup_invalid",
            f"the key of {key.source} is not sent over http to {parts.hostname}: anyone on the way could "
            "read it. Use https, or --insecure-http if the network is yours alone",
        )


def is_server_of_environment() -> bool:
    """Whether a variable names the server, and not a file of a project."""
    return bool(os.environ.get("PLAYHEAD_SERVER"))


def _chosen(file: str | None) -> ClientKey | None:
    if file is not None:
        return _of_file(file, "--key-file")
    if text := os.environ.get(KEY, "").strip():
        return ClientKey(text, KEY)
    if path := os.environ.get(KEY_FILE, ""):
        return _of_file(path, KEY_FILE)
    if command := os.environ.get(KEY_COMMAND, ""):
        return _of_command(command)
    return None


def _of_file(path: str, source: str) -> ClientKey:
    try:
        return ClientKey(Path(path).read_text().strip(), f"{source} {path}")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise CannotStart("setup_invalid", f"cannot read the key of {source} {path}: {why}") from exc


def _of_command(command: str) -> ClientKey:
    try:
        done = subprocess.run(
            shlex.split(command), stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=True, text=True
        )
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        name = command.split()[0] if command.split() else command
        code = getattr(exc, "returncode", None)
        why = type(exc).__name__ if code is None else f"exit code {code}"
        raise CannotStart("setup_invalid", f"{KEY_COMMAND}: `{name}` has failed: {why}") from exc
    return ClientKey(done.stdout.strip(), KEY_COMMAND)


# -- stored keys: `playhead login` -----------------------------------------------------------------


def credentials_file() -> Path:
    """Return the file of the stored keys of this user."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "playhead" / "credentials.toml"


def origin_of(server: str) -> str:
    """Return scheme, host and port of a server: what a stored key belongs to."""
    parts = urlsplit(server)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{parts.port or _PORTS[parts.scheme]}"


def store(server: str, key: str) -> None:
    """Store the key of a server. Only this user can read the file."""
    _write({**_read(), origin_of(server): key})


def forget(server: str) -> bool:
    """Delete the stored key of a server. Returns whether there was one."""
    keys = dict(_read())
    if keys.pop(origin_of(server), None) is None:
        return False
    _write(keys)
    return True


def stored_origins() -> list[str]:
    """Return the servers with a stored key."""
    return sorted(_read())


def _stored(server: str) -> ClientKey | None:
    text = _read().get(origin_of(server))
    return ClientKey(text, str(credentials_file())) if text else None


def _read() -> Mapping[str, str]:
    file = credentials_file()
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            found = tomllib.load(opened)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise CannotStart("setup_invalid", f"cannot read {file}: {exc}") from exc
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CannotStart("setup_invalid", f"others can read {file}: run chmod 600 {shlex.quote(str(file))}")
    servers = found.get("servers", {})
    return {origin: entry["key"] for origin, entry in servers.items()} if isinstance(servers, dict) else {}


def _write(keys: Mapping[str, str]) -> None:
    file = credentials_file()
    lines = [
        f"[servers.{json.dumps(origin)}]\nkey = {json.dumps(key)}\n" for origin, key in sorted(keys.items())
    ]
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            fresh.unlink()
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write("\n".join(lines))
        fresh.replace(file)
    except OSError as exc:
        raise CannotStart("setup_invalid", f"cannot write {file}: {exc.strerror}") from exc
