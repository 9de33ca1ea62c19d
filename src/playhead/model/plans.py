"""Plans: what a replay would publish, before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from playhead.model.code import Worker
from playhead.model.replays import OnReplay
from playhead.model.warnings import Warning

PlanState = Literal["listing", "ready", "used", "expired", "failed"]
MOST_DIFFERENCES: Final = 100
"""Objects that `PlanDifference.first` names at most."""


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """An object of a plan.

    Attributes:
        key: its key.
        size: in bytes.
        tag: `r:` and the first half of the sha256 in its record; for an object of another program, `s:` and
            the tag that the store has given it.
    """

    key: str
    size: int
    tag: str


@dataclass(frozen=True, slots=True)
class ObjectState:
    """An object at one time.

    Attributes:
        size: in bytes.
        tag: as in a `PlannedObject`.
    """

    size: int
    tag: str


@dataclass(frozen=True, slots=True)
class ChangedObject:
    """An object that a plan has, and that is no longer as it was.

    Attributes:
        key: its key.
        what: `gone`: it is not stored any more. `changed`: its bytes may be others.
        planned: as it was when the plan was made.
        now: as it is; None if it is gone.
    """

    key: str
    what: Literal["gone", "changed"]
    planned: ObjectState
    now: ObjectState | None


@dataclass(frozen=True, slots=True)
class PlanDifference:
    """What the objects of a plan have become.

    Attributes:
        gone: number of objects that are not stored any more.
        changed: number of objects whose bytes may be others.
        first: the first 100 of them, in key order.
    """

    gone: int = 0
    changed: int = 0
    first: list[ChangedObject] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What differs, in one line."""
        what = [
            f"{count:,} {name}" for count, name in ((self.gone, "gone"), (self.changed, "changed")) if count
        ]
        named = f"; the first is {self.first[0].key} ({self.first[0].what})" if self.first else ""
        return f"objects have changed since the plan was made: {', '.join(what)}{named}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Numbers of stored objects of the stage that are not part of a plan, by reason.

    Attributes:
        sidecars: sidecars and folder markers.
        not_stored: objects of attempts that were not committed, and pruned objects.
        filtered: objects that do not meet a condition other than `only`.
        not_failed: objects that `only` leaves out, except those of the next field.
        aborted_not_selected: objects that `only: failed` leaves out although their processing has not
            completed; `only: unfinished` includes them.
        over_limit: objects after the first `limit` ones.
    """

    sidecars: int = 0
    not_stored: int = 0
    filtered: int = 0
    not_failed: int = 0
    aborted_not_selected: int = 0
    over_limit: int = 0


@dataclass(frozen=True, slots=True)
class PlanProblems:
    """Objects of a plan that may not be processed.

    Attributes:
        invalid_key: their keys break the grammar: they become dead letters.
        no_sidecar: objects of Playhead without a sidecar; None if it is not known.
        hash_differs: bytes that are not those of their record, or cannot be read; None without `verify`.
    """

    invalid_key: int = 0
    no_sidecar: int | None = None
    hash_differs: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedRoute:
    """A route of the target's config.

    Attributes:
        config: its config.
        route: its name.
        queue: its inbound queue.
        effects: whether it changes anything outside Playhead: `external` if other programs consume its queue,
            or one of its adapters has declared it; `unknown` if that was not recorded.
        on_replay: what the replay does with its messages.
        reached: whether it is the target route, or receives messages from a route that is reached and run.
        messages: number of messages that the replay leads to in it, by what the same objects led to in the
            source: exact for the target, else an estimate (see `known` of the plan); None: not reached, or
            not known.
        seconds: how long their attempts took in the source, added up, for this number of messages; None: not
            known.
    """

    config: str
    route: str
    queue: str
    effects: Literal["none", "external", "unknown"]
    on_replay: OnReplay
    reached: bool
    messages: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The exact set of objects that a replay would publish, and what would process them.

    The set is fixed. All other fields are as of the time at which the plan was made.

    Attributes:
        plan_id: its id.
        state: `listing`: it is being made. `ready`. `used`: a replay was started from it. `expired`.
            `failed`: see `error`.
        digest: `sha256:` and the digest of keys, sizes and tags in hex; None until it is ready.
        request: the fields of the request that were given, with fixed times and `config_version`.
        to_config: config of the target route.
        to_config_version: version of that config, which will run.
        to_queue: inbound queue of the target route.
        created_at: RFC 3339 in UTC.
        expires_at: time after which no replay can be started from it; RFC 3339 in UTC.
        consumers: live processes that consume it.
        queue_depth: messages in it; None if the broker did not say.
        objects: number of objects.
        bytes: their total size.
        first_keys: keys of the first 10 objects.
        last_key: key of the last object; None until it is ready.
        content_types: number of objects by content type. At most 100 types; `other` counts the rest.
        left_out: what else is stored there.
        others_valid: number of objects of the stage that are not part of it, and whose results of the route
            the replay declares valid; None: it declares none valid.
        problems: objects that may not be processed.
        routes: routes of the config, in its order.
        looked_up: number of objects whose messages in the source were looked up, spread over all objects.
        known: how many of them the target route has processed in the source. If this is not the number of
            all objects, `messages` of the routes are extrapolated.
        would_refuse: routes because of which the replay would be refused.
        seconds: estimated time to publish all messages; None if neither an earlier replay nor a pace
            provides a rate.
        replay_batch_id: replay that was started from it; None if no replay was.
        error: why it failed; None if it has not.
        replayable_until: time after which retention may delete the objects of the source; RFC 3339 in UTC.
            None: no such time is known.
        config_diff: unified diff from the YAML of the source's config version to the version that will run;
            None if they are equal, or the source has none.
        workers: live processes that consume a route that is reached, with the adapters of these routes.
        warnings: about these workers and their code, about sinks, and about the objects.
    """

    plan_id: UUID
    state: PlanState
    digest: str | None
    request: Mapping[str, Any]
    to_config: str
    to_config_version: int
    to_queue: str
    created_at: str
    expires_at: str
    consumers: int = 0
    queue_depth: int | None = None
    objects: int = 0
    bytes: int = 0
    first_keys: list[str] = field(default_factory=list)
    last_key: str | None = None
    content_types: Mapping[str, int] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)
    others_valid: int | None = None
    problems: PlanProblems = field(default_factory=PlanProblems)
    routes: list[PlannedRoute] = field(default_factory=list)
    looked_up: int = 0
    known: int = 0
    would_refuse: list[str] = field(default_factory=list)
    seconds: float | None = None
    replay_batch_id: UUID | None = None
    error: str | None = None
    replayable_until: str | None = None
    config_diff: str | None = None
    workers: list[Worker] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)
