"""Config versions and their lanes, and who owns a queue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from playhead.errors import Conflict
from playhead.ids import moment
from playhead.model import Config, ConfigVersion
from playhead.ports.catalog.configs import Loaded

VERSION: Final = (
    "SELECT v.id, v.name, v.version, v.hash, c.active, v.created_at, v.source, v.document "
    "FROM config_versions v JOIN configs c ON c.name = v.name "
)
NEWEST: Final = "v.version = (SELECT max(version) FROM config_versions WHERE name = v.name)"
NEW_LANE: Final = "config_version, route, queue, stage, external, max_attempts, feeds"


def loaded(row: Sequence[Any]) -> Loaded:
    """From a row as `VERSION` gives it."""
    _, name, version, digest, active, created, source, document = row
    config = Config.from_document(json.loads(document))
    shown = ConfigVersion(
        name=name,
        version=version,
        hash=digest,
        active=bool(active),
        created_at=moment(created),
        entry=config.entry,
        routes=list(config.routes),
        stages=list(config.stages),
        source=source,
    )
    return Loaded(shown, config)


def new_lanes(version_id: int, config: Config) -> list[tuple[Any, ...]]:
    """The lanes of a new version, with the columns `NEW_LANE`."""
    return [
        (version_id, r.name, r.queue, r.stage, r.external, r.errors.max_attempts, json.dumps(r.to))
        for r in config.routes.values()
    ]


def refuse_taken(owners: Mapping[str, tuple[str, str]]) -> None:
    """Refuse a config of whose queues some have an owner: (config, route) by queue.

    Raises:
        Conflict: `queue_taken`.
    """
    for queue, (owner, route) in sorted(owners.items()):
        raise Conflict(
            "queue_taken",
            f"queue {queue!r} belongs to route {owner}/{route}; a queue belongs to one route of one "
            f"active config: name another queue, or deactivate {owner}",
        )
