"""The types of the values of settings: lists, hosts, networks, names of variables and folders."""

from __future__ import annotations

import base64
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from playhead.addresses import is_loopback, public_address
from playhead.model.access import ROLES, Role, whole
from playhead.model.rights import GroupRights

PREFIX: Final = "PLAYHEAD_"

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)(:[0-9]{1,5})?", re.ASCII)
_HEADER: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_OTHER_HEADERS: Final = frozenset(
    {"authorization", "connection", "cookie", "host", "origin", "sec-fetch-site", "user-agent"}
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?", re.ASCII)


def _names(value: object) -> object:
    """Convert a comma list, or a list of a TOML file, to its names without empty ones."""
    if isinstance(value, str):
        return tuple(name for part in value.split(",") if (name := part.strip()))
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _home(value: object) -> object:
    if value == "":
        # Path("") would be the working directory.
        raise ValueError("it must not be empty")
    try:
        # Only a shell expands `~`; a folder with that name is never meant.
        return Path(value).expanduser() if isinstance(value, str) else value
    except RuntimeError as exc:
        raise ValueError(f"{exc}") from exc


def _host(given: str) -> str:
    """Return a host as in requests: in lower case, and an IPv6 address in its canonical form in brackets."""
    name = given.lower()
    if name.count(":") > 1 and "[" not in name:
        name = f"[{name}]"
    try:
        parts = _HOST.fullmatch(name)
        if parts and name.startswith("["):
            name = f"[{ipaddress.IPv6Address(parts[1][1:-1])}]{parts[2] or ''}"
    except ValueError:
        parts = None
    if parts is None:
        raise ValueError("each entry must be a host: playhead.example.com, or host:8443 for one port alone")
    return name


def _variable(given: str) -> str:
    if not _VARIABLE.fullmatch(given) or given.startswith(PREFIX):
        raise ValueError(
            f"each entry must be the name of a variable, or a prefix such as OPENAI_*, not {PREFIX}…"
        )
    return given


def _webhook_secret(given: str) -> str:
    try:
        size = len(base64.b64decode(given.removeprefix("whsec_"), validate=True))
    except ValueError:
        size = 0
    if not given.startswith("whsec_") or not 24 <= size <= 64:
        raise ValueError(
            "each entry must be `whsec_` and 24 to 64 random bytes in base64; for example: "
            "echo whsec_$(openssl rand -base64 32)"
        )
    return given


def _group(given: object) -> object:
    """Return the rights of a group, from `GROUP=ROLE` or `GROUP=ROLE:CONFIG`."""
    if not isinstance(given, str):
        return given
    group, _, rights = given.rpartition("=")
    role, colon, config = rights.strip().partition(":")
    scopes = ROLES.get(cast(Role, role))
    if not group.strip() or scopes is None or bool(colon) != bool(config):
        raise ValueError(
            f"each entry must be GROUP=ROLE or GROUP=ROLE:CONFIG; the roles are {', '.join(ROLES)}"
        )
    return GroupRights(group.strip(), whole(scopes), frozenset({config}) if config else None)


def _issuer(given: str) -> str:
    try:
        parts = urlsplit(given)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)) if host else False
    if not is_safe or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("it must be https://HOST/…, without a query; http: only on the loopback interface")
    return given


def _header(given: str) -> str:
    name = given.lower()
    if not _HEADER.fullmatch(name) or name in _OTHER_HEADERS or name.startswith("x-playhead-"):
        raise ValueError(
            "it must be the name of a header that only the proxy sends, such as X-Forwarded-User"
        )
    return name


def _folder(given: Path) -> Path:
    if given.resolve() == Path("/"):
        raise ValueError("it must not be the root folder: configs could read every file")
    return given


def _reachable(given: str) -> str:
    """Return a network, or a host as in `_host`."""
    try:
        return str(ipaddress.ip_network(given, strict=False)) if "/" in given else _host(given)
    except ValueError as exc:
        raise ValueError(
            "each entry must be a host, host:port or a network: ollama:11434, 10.0.0.0/8"
        ) from exc


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(_names)]
Variables = Annotated[tuple[Annotated[str, AfterValidator(_variable)], ...], BeforeValidator(_names)]
Folders = Annotated[
    tuple[Annotated[Path, BeforeValidator(_home), AfterValidator(_folder)], ...], BeforeValidator(_names)
]
Reachable = Annotated[tuple[Annotated[str, AfterValidator(_reachable)], ...], BeforeValidator(_names)]
Secrets = Annotated[tuple[Annotated[str, AfterValidator(_webhook_secret)], ...], BeforeValidator(_names)]
Groups = Annotated[tuple[Annotated[GroupRights, BeforeValidator(_group)], ...], BeforeValidator(_names)]
Issuer = Annotated[str, AfterValidator(_issuer)]
PublicUrl = Annotated[str, AfterValidator(public_address)]
HeaderName = Annotated[str, AfterValidator(_header)]
Home = Annotated[Path, BeforeValidator(_home)]
IN_LOWER_CASE: Final = BeforeValidator(_lower)
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1)]
