"""`keys create|list|rotate|revoke|generate`, `sessions list|revoke`, `access open`, `whoami`."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from playhead import clientkeys
from playhead.addresses import server_address
from playhead.cli import output
from playhead.cli.command import command
from playhead.cli.session import Session, Usage, limits_of
from playhead.model.access import ROLES, SCOPES, KeyRequest, Scope
from playhead.times import duration

if TYPE_CHECKING:
    from playhead.model.access import AccessKey, CreatedKey

_NEVER: Final = "never"
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a valid key, or id of a key.")]
Expires = Annotated[
    str, typer.Option("--expires", metavar="TIME", help="When the key ends: such as 90d or 24h, or `never`.")
]


@command("create", example="playhead keys create ci-docs --role ci --config docs", changes=True)
async def create(
    s: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name for people, such as ci-docs.")],
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help=f"Several scopes at once: {', '.join(ROLES)}."),
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", metavar="SCOPE", help=f"{', '.join(SCOPES)}.")
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", metavar="NAME", help="Limit changes to this config; repeatable."),
    ] = None,
    expires: Expires = "90d",
) -> None:
    """Create a key, and print it once.

    It is printed alone on stdout, and cannot be shown again. The first key is created with access to the
    catalog, not through a server. From then on, all servers need a key.
    """
    with limits_of(seconds="--expires", scopes="--role", configs="--config", name="NAME"):
        request = KeyRequest(name, _scopes(role or (), scope or ()), config or None, _seconds(expires))
    async with s.open(creates_home=True) as rt:  # before the first run, too
        created = await rt.services.access.create(request)
    _print_new(s, created)


@command("rotate", example="playhead keys rotate ci-docs --overlap 24h", changes=True)
async def rotate(
    s: Session,
    name: KeyName,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="TIME", help="How long the old key stays valid.")
    ] = "24h",
    expires: Expires = "90d",
) -> None:
    """Replace a key by one with the same rights.

    It has the same name, and is printed alone on stdout. The old key ends after the overlap.
    """
    async with s.open() as rt:
        created = await rt.services.access.rotate(
            name, overlap=_duration("--overlap", overlap), seconds=_seconds(expires)
        )
    _print_new(s, created)


@command("revoke", example="playhead keys revoke ci-docs", changes=True)
async def revoke(s: Session, name: KeyName) -> None:
    """End a key at once, with its sessions.

    It can change nothing on any server when the command ends. A server may let it read for one heartbeat.
    """
    async with s.open() as rt:
        revoked = await rt.services.access.revoke(name)
    if s.json:
        output.emit(revoked)
    else:
        output.line(f"key {revoked.name} ({revoked.id}) was revoked at {output.when(revoked.revoked_at)}")


@command("list", example="playhead keys list")
async def list_(s: Session) -> None:
    """List all keys by name, also expired and revoked ones."""
    async with s.open() as rt:
        keys = await rt.services.access.keys()
    if s.json:
        output.emit_list(keys, None)
        return
    output.table(
        ("ID", "NAME", "STATE", "ALLOWS", "CONFIGS", "ENDS", "LAST USED", "FROM"),
        [(*_row(one), output.when(one.last_used_at), one.last_used_from or "") for one in keys],
    )


@command("generate", example="playhead keys generate", only_here="it asks nothing of a server")
def generate(s: Session) -> None:
    """Print a new key for PLAYHEAD_FIRST_KEY_FILE."""
    from playhead.credentials import new_key

    key = new_key()
    if s.json:
        output.emit({"key": key.text, "id": key.id})
    else:
        output.line(key.text)


@command("list", example="playhead sessions list")
async def list_sessions(s: Session) -> None:
    """List the sessions of browsers that have not ended."""
    async with s.open() as rt:
        sessions = await rt.services.access.sessions()
    if s.json:
        output.emit_list(sessions, None)
        return
    output.table(
        ("ID", "NAME", "LOGIN", "SINCE", "LAST SEEN", "FROM"),
        [
            (
                one.id,
                one.name,
                one.kind,
                output.when(one.created_at),
                output.when(one.seen_at),
                one.address or "",
            )
            for one in sessions
        ],
    )


@command("revoke", example="playhead sessions revoke Zk3vQ9aB", changes=True)
async def revoke_session(
    s: Session, session: Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.")]
) -> None:
    """End the session of a browser.

    Its open pages notice it within two seconds.
    """
    async with s.open() as rt:
        ended = await rt.services.access.revoke_session(session)
    if s.json:
        output.emit(ended)
    else:
        output.line(f"session {ended.id} has ended")


@command("login", example="playhead login https://playhead.example.com", only_here="name the server as URL")
async def login(
    s: Session,
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the server.")],
) -> None:
    """Store the key of a server for this user.

    It is read without echo, or from stdin, and compared with the server. Then all commands send it to this
    server, and to no other one.
    """
    from playhead.remote import open_server

    origin = _origin(url)
    key = clientkeys.ClientKey(_read_key(origin), "stdin")
    clientkeys.check(key, url, allows_http=s.insecure_http)
    async with open_server(url, key=key.text, warn=output.note) as server:
        me = await server.identity.me()
    clientkeys.store(url, key.text)
    if s.json:
        output.emit(me)
    else:
        output.line(f"logged in to {origin} as {me.name}: {', '.join(me.scopes) or 'no scope'}")


@command("logout", example="playhead logout https://playhead.example.com", only_here="name the server as URL")
def logout(
    s: Session,
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the server.")],
) -> None:
    """Delete the stored key of a server.

    The key stays valid. `playhead keys revoke` ends it.
    """
    origin = _origin(url)
    had_key = clientkeys.forget(url)
    if s.json:
        output.emit({"server": origin, "had_key": had_key})
    else:
        output.line(f"{origin}: " + ("the key is deleted here" if had_key else "there was no key"))


@command(
    "open",
    example="playhead access open",
    only_here="it needs access to the catalog, so that no request can open a server",
    changes=True,
)
async def open_access(s: Session) -> None:
    """Let servers need no key any more.

    Anyone who can reach a server may then do everything. Needs access to the catalog: no server does this.
    """
    if s.server is not None:  # of the environment or the project
        raise Usage("`access open` needs access to the catalog; unset PLAYHEAD_SERVER")
    async with s.open() as rt:
        assert rt.here
        was_required = await rt.here.services.access.open()
    if s.json:
        output.emit({"access": "open", "changed": was_required})
    else:
        output.line("access is open: servers need no key" + ("" if was_required else ", as before"))


@command("whoami", example="playhead whoami")
async def whoami(s: Session) -> None:
    """Show who you are for the server, and what you may do."""
    async with s.open() as rt:
        me = await rt.services.identity.me()
    if s.json:
        output.emit(me)
        return
    output.line(f"name     {me.name}, known by: {me.kind}")
    output.line(f"allows   {', '.join(me.scopes) or 'nothing'}")
    output.line(f"configs  {'all' if me.configs is None else ', '.join(me.configs)}")
    output.line(f"ends     {output.when(me.expires_at) if me.expires_at else 'never'}")
    output.line(f"access   {me.access}{', read-only' if me.read_only else ''}")


def _origin(url: str) -> str:
    try:
        return clientkeys.origin_of(server_address(url))
    except ValueError as exc:
        raise Usage(f"{url}: {exc}") from None


def _read_key(origin: str) -> str:
    """Return the key that a person types, or the first line of stdin. It is not shown."""
    if sys.stdin is not None and not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    return getpass(f"Key for {origin}: ").strip()


def _print_new(s: Session, created: CreatedKey) -> None:
    if s.json:
        output.emit(created)
    else:
        output.line(created.key)
        output.note(_about(created.record))
    if created.was_open:
        output.note(
            f"This is the first key of the catalog {_catalog(s)}: from now on, every request to a server of "
            "this catalog needs a key or a login. Commands take the key from PLAYHEAD_KEY_FILE, or from "
            "`playhead login URL`."
        )


def _catalog(s: Session) -> str:
    """Return where the catalog is. By default it depends on the folder of the command."""
    from playhead.bootstrap.backends import sqlite_path, without_secrets

    if s.settings.catalog:
        return without_secrets(s.settings.catalog)
    return str(sqlite_path(s.settings, None, "CATALOG").absolute())


def _about(key: AccessKey) -> str:
    limit = f" in {', '.join(key.configs)}" if key.configs is not None else ""
    ends = f"until {output.when(key.expires_at)}" if key.expires_at else "without end"
    return (
        f"Key {key.name} ({key.id}) allows {', '.join(key.scopes)}{limit}, {ends}. It cannot be shown again."
    )


def _row(key: AccessKey) -> tuple[str, ...]:
    limit = "all" if key.configs is None else ", ".join(key.configs)
    ends = output.when(key.expires_at) if key.expires_at else "never"
    return key.id, key.name, key.state, " ".join(key.scopes), limit, ends


def _scopes(roles: tuple[str, ...] | list[str], scopes: tuple[str, ...] | list[str]) -> list[Scope]:
    """Return the scopes of roles, and single ones, in the order of the table."""
    wanted: set[str] = set(scopes)
    for role in roles:
        found = next((given for name, given in ROLES.items() if name == role), None)
        if found is None:
            raise Usage(f"--role {role}: no such role; write one of: {', '.join(ROLES)}")
        wanted |= found
    if unknown := wanted.difference(SCOPES):
        raise Usage(f"--scope {min(unknown)}: no such scope; write one of: {', '.join(SCOPES)}")
    if not wanted:
        raise Usage(f"a key needs a --role ({', '.join(ROLES)}) or a --scope")
    return [scope for scope in SCOPES if scope in wanted]


def _seconds(expires: str) -> float | None:
    return None if expires == _NEVER else _duration("--expires", expires)


def _duration(option: str, text: str) -> float:
    try:
        return duration(text)
    except ValueError as exc:
        raise Usage(f"{option} {text!r} {exc}") from None
