"""The rows of the audit, compared with the changes that the catalog shows.

A change and its row are in one transaction. So both sides of a rule are equal at each moment, also right
after a `kill -9`. A rule is one statement, because other processes may continue to write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

_CANCELS: Final = "('replay.cancel', 'replay.withdraw', 'execution.cancel')"
_RUN: Final = (
    "SELECT e.id, '' FROM executions e JOIN jobs j ON j.execution = e.n "
    "WHERE e.kind = 'run' AND e.status <> 'cancelled'"
)
_END_OF_RUN: Final = (
    "SELECT a.execution, '' FROM audit a JOIN executions e ON e.id = a.execution "
    "WHERE a.action = 'run.start' AND e.status <> 'cancelled'"
)


def _newest(what: str, action: str, others: str) -> str:
    """Select what a row of `action` is about, if no row of the others is newer."""
    return (
        f"SELECT a.{what}, '' FROM audit a WHERE a.action = '{action}' AND a.n = "
        f"(SELECT max(b.n) FROM audit b WHERE b.{what} = a.{what} AND b.action IN {others})"
    )


def _switches(what: str, actions: str) -> tuple[str, str]:
    """Select the rows of actions of which a second one changes nothing, and those that follow another one."""
    rows = f"SELECT a.n, a.action FROM audit a WHERE a.action IN {actions}"
    before = (
        f"SELECT b.action FROM audit b WHERE b.{what} = a.{what} AND b.n < a.n "
        f"AND b.action IN {actions[:-1]}, 'replay.resume') ORDER BY b.n DESC LIMIT 1"
    )
    return f"{rows} AND a.action <> coalesce(({before}), '')", rows


RULES: Final[dict[str, tuple[str, str]]] = {
    "runs that were opened": (
        "SELECT id, '' FROM executions WHERE kind = 'run'",
        "SELECT execution, '' FROM audit WHERE action = 'run.start' AND outcome = 'intended'",
    ),
    "runs whose inputs are stored": (
        f"{_RUN} AND j.state <> 'uploading' AND coalesce(j.error_code, '') <> 'upload_incomplete'",
        f"{_END_OF_RUN} AND a.outcome = 'done'",
    ),
    "runs whose upload has failed": (
        f"{_RUN} AND j.error_code = 'upload_incomplete'",
        f"{_END_OF_RUN} AND a.outcome = 'failed'",
    ),
    "runs that were intended first": (
        "SELECT a.execution, a.outcome FROM audit a WHERE a.action = 'run.start' AND a.outcome <> 'intended' "
        "AND a.n > (SELECT min(b.n) FROM audit b WHERE b.execution = a.execution AND b.outcome = 'intended')",
        "SELECT execution, outcome FROM audit WHERE action = 'run.start' AND outcome <> 'intended'",
    ),
    "replays": (
        "SELECT id, '' FROM executions WHERE kind = 'replay'",
        "SELECT execution, '' FROM audit WHERE action = 'replay.start'",
    ),
    "paused replays": (
        "SELECT e.batch, '' FROM executions e JOIN jobs j ON j.execution = e.n WHERE j.state = 'paused'",
        _newest("batch", "replay.pause", f"('replay.pause', 'replay.resume', {_CANCELS[1:]}"),
    ),
    "cancelled replays": (
        "SELECT e.batch, '' FROM executions e JOIN jobs j ON j.execution = e.n "
        "WHERE e.batch IS NOT NULL AND (e.status = 'cancelled' OR j.state = 'cancelled')",
        f"SELECT DISTINCT batch, '' FROM audit WHERE batch IS NOT NULL AND action IN {_CANCELS}",
    ),
    "cancels": (
        f"SELECT DISTINCT execution, action FROM audit WHERE action IN {_CANCELS}",
        f"SELECT execution, action FROM audit WHERE action IN {_CANCELS}",
    ),
    "versions of configs": (
        "SELECT name, '' FROM config_versions",
        "SELECT config, '' FROM audit WHERE action = 'config.apply'",
    ),
    "inactive configs": (
        "SELECT name, '' FROM configs WHERE NOT active",
        _newest("config", "config.deactivate", "('config.activate', 'config.deactivate')"),
    ),
    "pinned executions": (
        "SELECT id, '' FROM executions WHERE pinned",
        _newest("execution", "execution.pin", "('execution.pin', 'execution.unpin')"),
    ),
    "pauses": _switches("batch", "('replay.pause')"),
    "pins": _switches("execution", "('execution.pin', 'execution.unpin')"),
    "activations": _switches("config", "('config.activate', 'config.deactivate')"),
    "prunes": (
        "SELECT e.id, p.stage FROM prunings p JOIN executions e ON e.n = p.execution "
        "UNION ALL SELECT id, 'records' FROM executions WHERE records_deleted_at IS NOT NULL",
        "SELECT execution, coalesce(object, '') FROM audit WHERE action = 'prune.begin'",
    ),
    "publications": (
        "SELECT e.id, '' FROM publications p JOIN executions e ON e.n = p.execution "
        "WHERE p.state = 'published'",
        "SELECT e.id, '' FROM audit a JOIN executions e ON e.id = a.execution "
        "JOIN publications p ON p.execution = e.n "
        "WHERE a.action = 'publication.publish' AND p.state = 'published'",
    ),
    "rollbacks": (
        "SELECT c.name || '/' || d.name, '' FROM switches s JOIN datasets d ON d.n = s.dataset "
        "JOIN configs c ON c.n = d.config WHERE s.kind = 'rollback'",
        "SELECT object, '' FROM audit WHERE action = 'dataset.rollback'",
    ),
    "executions that rows name": (
        "SELECT a.execution, a.action FROM audit a JOIN executions e ON e.id = a.execution",
        "SELECT execution, action FROM audit WHERE execution IS NOT NULL",
    ),
}
"""Statements that select each change, and each row about one. Both select the same pairs."""


def differences(rows: Callable[[str], Sequence[Any]]) -> list[str]:
    """Return what the catalog has and the audit has not, and the reverse.

    Args:
        rows: runs a statement on the catalog.
    """
    found = []
    for name, (changes, records) in RULES.items():
        for about, more, surplus in rows(
            f"WITH sides (about, more, x) AS (SELECT y.*, 1 FROM ({changes}) AS y "
            f"UNION ALL SELECT z.*, -1 FROM ({records}) AS z) "
            "SELECT about, more, sum(x) FROM sides GROUP BY about, more HAVING sum(x) <> 0"
        ):
            what = "without a row" if surplus > 0 else "rows without a change"
            found.append(f"{name}: {abs(surplus)} {what}: {about!r} {more}")
    return found
