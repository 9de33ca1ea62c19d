"""The rights of servers and workers on the tables, each written once.

An adapter has the environment of its worker, and with it the worker's password. So workers have a role that
reads neither keys nor the audit, and changes no config. A server does all that a worker does, except that it
receives no messages. `playhead migrate --grants` prints the statements, and `playhead doctor` checks them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from playhead.backends._postgres.session import Connection
from playhead.ports.diagnosis import PROCESS_ROLES, ProcessRole

_VERBS: Final = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE"}
_RIGHTS: Final[Mapping[str, tuple[str, str]]] = {
    # the table: what a server may do, and what a worker may do
    "access": ("SU", ""),
    "adapter_codes": ("SI", "SI"),
    "audit": ("SI", "I"),
    "causes": ("SIU", "SI"),
    "codes": ("SI", "SI"),
    "config_versions": ("SI", "S"),
    "configs": ("SIU", "S"),
    "datasets": ("SIU", "SU"),
    "declarations": ("SIU", "S"),
    "deliveries": ("SIUD", "SIUD"),
    "departed": ("SU", "SU"),
    "dispatches": ("SIUD", "SIUD"),
    "executions": ("SIU", "SIU"),
    "failing": ("SIUD", "SIUD"),
    "idempotency": ("SIUD", "SID"),
    "jobs": ("SIU", "SIU"),
    "keys": ("SIU", ""),
    "lanes": ("SIU", "SU"),
    "leases": ("SIUD", "SIUD"),
    "limits": ("SIUD", "SIUD"),
    "logins": ("SID", ""),
    "messages": ("SIUD", "SIUD"),
    "minutes": ("SIUD", "SIUD"),
    "outputs": ("SIUD", "SIUD"),
    "plan_pages": ("SID", "SD"),
    "plans": ("SIUD", "SUD"),
    "processes": ("SIUD", "SIUD"),
    "prunings": ("SIU", "SIU"),
    "publication_notes": ("SI", "SI"),
    "publication_parts": ("SI", "SI"),
    "publications": ("SIU", "SIU"),
    "published": ("SIUD", "SIUD"),
    "published_executions": ("SIUD", "SIUD"),
    "queues": ("SI", "SI"),
    "replay_publications": ("SIU", "SU"),
    "reports": ("SIUD", "SIUD"),
    "reusable": ("SIUD", "SIUD"),
    "reviews": ("SIUD", "SD"),
    "route_pauses": ("SIUD", "S"),
    "samples": ("SIUD", "SIUD"),
    "schema_version": ("S", "S"),
    "search_index": ("SU", "SU"),
    "sessions": ("SIUD", ""),
    "sinks": ("SIUD", "SIUD"),
    "switches": ("SI", "SI"),
    "tags": ("SI", "S"),
    "term_uses": ("SIUD", "SIU"),
    "terms": ("SID", "SI"),
}
TABLES: Final = tuple(_RIGHTS)
_AUDIT: Final = (
    *("actor_kind", "actor", "actor_name", "via", "address", "correlation_id", "action", "outcome"),
    *("error_code", "object", "execution", "batch", "config", "reason", "detail"),
)
_COLUMNS: Final[Mapping[tuple[str, str, ProcessRole], Sequence[str]]] = {
    # No process chooses the number, the time or the database role of its entries.
    ("audit", "I", "server"): _AUDIT,
    ("audit", "I", "worker"): _AUDIT,
    # A row lock needs UPDATE on a column. This one exists for that alone.
    ("lanes", "U", "worker"): ("row_lock",),
}


class Right(NamedTuple):
    """A right on a table, or on some of its columns."""

    table: str
    verb: str
    columns: Sequence[str] = ()

    def __str__(self) -> str:
        columns = f" ({', '.join(self.columns)})" if self.columns else ""
        return f"{self.verb}{columns} on {self.table}"


def rights(role: ProcessRole) -> list[Right]:
    """Return the rights of a role, ordered by table."""
    at = PROCESS_ROLES.index(role)
    return [
        Right(table, _VERBS[letter], _COLUMNS.get((table, letter, role), ()))
        for table, letters in _RIGHTS.items()
        for letter in letters[at]
    ]


def statements(schema: str, roles: Mapping[ProcessRole, str]) -> list[str]:
    """Return the statements that give database roles exactly the rights of this release, for one transaction.

    Args:
        schema: the schema of the tables.
        roles: a role of the database for each kind of process.
    """
    place, named = quoted(schema), ", ".join(dict.fromkeys(map(quoted, roles.values())))
    return [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {place} FROM {named}",
        f"GRANT USAGE ON SCHEMA {place} TO {named}",
        *_granting(place, roles),
    ]


def _granting(place: str, roles: Mapping[ProcessRole, str]) -> Iterator[str]:
    for table in _RIGHTS:
        for role, name in roles.items():
            some = [
                right.verb + (f" ({', '.join(right.columns)})" if right.columns else "")
                for right in rights(role)
                if right.table == table
            ]
            if some:
                yield f"GRANT {', '.join(some)} ON {place}.{table} TO {quoted(name)}"


def quoted(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


async def missing(con: Connection, role: ProcessRole) -> list[Right]:
    """Return the rights of this role that the user of the connection lacks."""
    wanted = rights(role)
    rows = await con.fetch(
        "SELECT to_regclass(t) IS NOT NULL AND CASE WHEN c = '' THEN has_table_privilege(to_regclass(t), r) "
        "ELSE (SELECT bool_and(has_column_privilege(to_regclass(t), one, r)) "
        "FROM unnest(string_to_array(c, ',')) AS one) END "
        "FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS w (t, r, c, n) ORDER BY n",
        [right.table for right in wanted],
        [right.verb for right in wanted],
        [",".join(right.columns) for right in wanted],
    )
    return [right for right, (has,) in zip(wanted, rows, strict=True) if not has]
