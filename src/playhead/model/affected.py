"""What a version of an adapter, or a worker, has made."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from playhead.model.views import Kind


@dataclass(frozen=True, slots=True)
class AffectedRoute:
    """Results of one route of an execution that a version of an adapter, or a worker, has made.

    Attributes:
        execution_id: the execution. Results that it took over from an earlier run are included.
        kind: `run` or `replay`.
        config: name of its config.
        config_version: version of its config.
        created_at: start time of the execution; RFC 3339 in UTC.
        route: name of the route.
        stage: stage that the route stores; None: it stores nothing.
        results: number of messages of the route with such a result. Each has received one object.
        from_execution_id: execution of the objects that these messages have received.
        from_stage: their stage.
        in_replay: if they are objects of the source of a replay: its batch.
        made_by: the condition. A replay from `from_execution_id` and `from_stage` to the route with this
            `made_by` and `in_replay` replays exactly these objects.
    """

    execution_id: UUID
    kind: Kind
    config: str
    config_version: int
    created_at: str
    route: str
    stage: str | None
    results: int
    from_execution_id: UUID
    from_stage: str
    in_replay: UUID | None
    made_by: str
