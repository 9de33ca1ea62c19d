"""What a text leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

FoundKind = Literal[
    "execution", "replay", "message", "dead_letter", "object", "config", "route", "queue", "plan"
]


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a text names, or nearly names.

    Attributes:
        kind: what it is. A message that is dead is a `dead_letter`. The name of a stage leads to the route
            that stores it.
        id: its id: of a replay its batch, of a message its correlation id, of an object its key, of a route
            `config/route`, of a config or a queue its name.
        execution_id: execution that it is, or belongs to; None for configs, routes, queues and plans.
        title: one line that describes it.
        is_exact: whether the text is its name, its id, or the last digits of it. Otherwise its name only
            begins with the text, or its id is similar.
    """

    kind: FoundKind
    id: str
    execution_id: UUID | None
    title: str
    is_exact: bool
