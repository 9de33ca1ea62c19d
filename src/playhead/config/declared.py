"""Every key that a config may have: its type, limits, default and purpose.

The readers use these limits and defaults, and the reference page is generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from playhead.config.fields import NAME, QUEUE, Spot, Table
from playhead.model import ErrorHandling, OnFailure, OnReplay, Operator

VERSION: Final = "1.0"

_YEAR: Final = 31_536_000
_ERRORS: Final = ErrorHandling()


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a config.

    Attributes:
        kind: the type of its value, as text.
        about: its purpose.
        default: its default, as it would be written; empty if there is no default, or `about` describes it.
        required: it must not be left out.
    """

    name: str
    kind: str
    about: str
    default: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Key):
    """A whole number from `low` to `high`."""

    kind: str = "whole number"
    otherwise: int
    low: int
    high: int

    def read(self, table: Table, default: int | None = None) -> int:
        """Return the value; without one, or with a fault, `default` (None: `otherwise`)."""
        default = self.otherwise if default is None else default
        spot = table.get(self.name)
        return spot.integer(default, self.low, self.high) if spot else default


@dataclass(frozen=True, slots=True, kw_only=True)
class Real(Key):
    """A number from `low` (excluded if `above`) to `high`."""

    kind: str = "number"
    otherwise: float
    low: float
    high: float
    above: bool = False

    def read(self, table: Table, default: float | None = None) -> float:
        """Return the value; without one, or with a fault, `default` (None: `otherwise`)."""
        default = self.otherwise if default is None else default
        spot = table.get(self.name)
        return spot.number(default, self.low, self.high, above=self.above) if spot else default


MAX_ATTEMPTS: Final = Whole(
    name="max_attempts",
    otherwise=_ERRORS.max_attempts,
    low=1,
    high=100,
    about="Maximum number of attempts for a message. If the last one fails, the message is a dead letter.",
)
RETRY_DELAY: Final = Real(
    name="retry_delay_seconds",
    otherwise=_ERRORS.retry_delay_seconds,
    low=0,
    high=86_400,
    about="Delay before the second attempt.",
)
BACKOFF: Final = Real(
    name="backoff",
    otherwise=_ERRORS.backoff,
    low=1,
    high=10,
    about="Factor from one delay to the next.",
)
MAX_DELAY: Final = Real(
    name="max_delay_seconds",
    otherwise=_ERRORS.max_delay_seconds,
    low=0,
    high=_YEAR,
    about="Maximum delay.",
)
CONCURRENCY: Final = Whole(
    name="concurrency",
    otherwise=4,
    low=1,
    high=1024,
    about="Messages that a worker process handles at the same time; with a step that takes batches: batches.",
)
CONCURRENCY_TOTAL: Final = Whole(
    name="concurrency_total",
    otherwise=0,
    low=1,
    high=100_000,
    default="no limit",
    about="The same for all worker processes together.",
)
CALLS: Final = Whole(
    name="calls",
    otherwise=1,
    low=1,
    high=1_000_000,
    about="Calls per period. They are evenly spread: `calls: 100` in `seconds: 60` is a call every 0.6 s.",
    required=True,
)
SECONDS: Final = Real(
    name="seconds",
    otherwise=1,
    low=0,
    high=86_400,
    above=True,
    about="The length of the period.",
    required=True,
)
BURST: Final = Whole(
    name="burst",
    otherwise=1,
    low=1,
    high=1_000_000,
    about="Calls that may begin at once after a time without calls. In any period, at most "
    "`calls + burst - 1` calls begin.",
)
PREFETCH: Final = Whole(
    name="prefetch",
    otherwise=0,
    low=1,
    high=10_000,
    default="as many as the route needs",
    about="Messages that a worker process receives ahead; at least as many as it handles at the same "
    "time (W102).",
)
TIMEOUT: Final = Real(
    name="timeout_seconds",
    otherwise=300,
    low=0,
    high=_YEAR,
    above=True,
    about="Time limit for one message, through all adapters.",
)

KEEP_DAYS: Final = Real(
    name="keep_days",
    otherwise=1,
    low=0,
    high=36_500,
    above=True,
    about="Days after the end of an execution in which its objects are kept.",
    required=True,
)
KEEP_LAST: Final = Whole(
    name="keep_last",
    otherwise=0,
    low=0,
    high=1_000_000,
    about="Number of newest runs and replays, and of newest completed ones, that are kept longer.",
)

RECORDS: Final = Real(
    name="records",
    kind="days, such as `90 days`",
    otherwise=0,
    low=0,
    high=36_500,
    above=True,
    default="they are kept",
    about="Days after the end of an execution, after which its records are deleted if all of its objects "
    "are. Its counts stay. Not with `stages`.",
)

ERRORS: Final = (MAX_ATTEMPTS, RETRY_DELAY, BACKOFF, MAX_DELAY)
INBOUND: Final = (
    Key(
        "queue",
        "text",
        f"The inbound queue: {QUEUE.meaning}. It belongs to one route of one active config.",
        "`<config>.<route>`",
    ),
    CONCURRENCY,
    CONCURRENCY_TOTAL,
    PREFETCH,
)
RATE_LIMIT: Final = (
    CALLS,
    SECONDS,
    BURST,
    Key(
        "key",
        "text",
        "All limits with the same key share their calls, also in other routes and configs. Example: the name "
        "of an account at a service.",
        "the route, or the route and its adapter",
    ),
)
OUTBOUND: Final = (
    Key(
        "stage",
        "text",
        "Where outputs are stored: segments of letters, digits, `.`, `_` and `-` that start with a letter or "
        "digit, joined by `/`. A stage has one route. `input` and names that start with `_` are reserved.",
        required=True,
    ),
    Key("to", "list of routes", "Each output goes to all of these routes. Cycles are not allowed.", "`[]`"),
)
CONDITION: Final = (
    Key("field", "text", "`content_type`, `path`, `size`, `stage` or `attributes.<name>`.", required=True),
    Key(
        "operator",
        " ".join(f"`{word}`" for word in get_args(Operator)),
        "See [Conditions](#conditions).",
        "`equals`",
    ),
    Key("value", "by operator", "The value to compare with. Only `exists` works without it."),
    Key(
        "otherwise",
        "`pass` `drop`",
        "What happens if the condition is false: the item skips this step, or it is dropped.",
        "`pass`",
    ),
)
STEP: Final = (
    Key("type", "text", "The adapter; `playhead adapters` lists all.", required=True),
    Key(
        "config",
        "mapping",
        "The settings of the adapter, checked by its model. See [Secrets](#secrets).",
        "`{}`",
    ),
    Key("condition", "mapping", "Only items that meet the condition go through this step."),
    Key(
        "isolation",
        "`thread` `process`",
        "`process`: the adapter runs in a child process. A time-out ends that process, and a crash harms no "
        "other message.",
        "`thread`",
    ),
    Key("rate_limit", "mapping", "How many calls of this step may begin, over all workers."),
)
ROUTE: Final = (
    Key("description", "text", "A description for readers."),
    Key("inbound", "mapping", "The queue of the route."),
    TIMEOUT,
    Key("rate_limit", "mapping", "How many attempts of this route may begin, over all workers."),
    Key(
        "external",
        "true or false",
        "Another program consumes the queue. The route then has no `adapters` and no `outbound`.",
        "`false`",
    ),
    Key(
        "adapters",
        "list of steps",
        "At least one. Each gets the outputs of the previous one. Required, unless the route is `external`.",
    ),
    Key("outbound", "mapping", "Where outputs go. Without it, the last adapter must return nothing."),
    Key(
        "on_replay",
        " ".join(f"`{word}`" for word in get_args(OnReplay)),
        "Whether a replay processes messages of this route, skips them, or is refused if it would reach the "
        "route. See [Side effects](../howto/side-effects.md).",
        "`run`",
    ),
    Key("error_handling", "mapping", "Fields that override those of the config."),
)
RETENTION: Final = (
    KEEP_DAYS,
    KEEP_LAST,
    Key(
        "stages",
        "list of stages",
        "Only the objects of these stages are deleted: stages of the routes, or `input`.",
        "all stages, and `input`",
    ),
    RECORDS,
)
MAX_FAILED: Final = Real(
    name="max_failed",
    otherwise=0,
    low=0,
    high=1e9,
    about="Documents that may have failed in an automatic publication: a number, or a share below 1.",
)
MAX_REMOVED: Final = Real(
    name="max_removed",
    otherwise=0.2,
    low=0,
    high=1,
    about="Share of the inputs that a publication may remove.",
)
KEEP: Final = Whole(
    name="keep",
    otherwise=5,
    low=0,
    high=1_000,
    about="Publications that are kept, besides the current one and pinned ones.",
)
DATASET: Final = (
    Key(
        "routes",
        "list of routes",
        "Routes whose results readers use. A route belongs to at most one dataset.",
        "all with a stage or a sink",
    ),
    Key(
        "publish",
        "`manual` `automatic`",
        "`automatic`: publish each run of the config when it has settled.",
        "`manual`",
    ),
    Key(
        "on_failure",
        " ".join(f"`{word}`" for word in get_args(OnFailure)),
        "What happens to a document whose processing failed: its earlier results are kept, it is left out, "
        "or the publication is refused.",
        "`keep_last`",
    ),
    MAX_FAILED,
    MAX_REMOVED,
    Key(
        "runs",
        "`complete` `partial`",
        "`complete`: each run has all inputs, so others are removed. `partial`: a run adds inputs. "
        "A replay of a stage of another config adds its objects, too.",
        "`complete`",
    ),
    KEEP,
    Key(
        "webhook",
        "URL",
        "URL that receives the events of the dataset. The operator allows its host "
        "(`PLAYHEAD_WEBHOOK_HOSTS`). Workers and servers send the events.",
        "none",
    ),
)
CONFIG: Final = (
    Key("version", "text", f'The version of this format: `"{VERSION}"`, quoted.', required=True),
    Key("name", "text", f"The name of the config: {NAME.meaning}.", required=True),
    Key("description", "text", "A description for readers."),
    Key("entry", "text", "The route that gets the inputs of a run.", required=True),
    Key("error_handling", "mapping", "Retries, for all routes."),
    Key(
        "retention",
        "mapping",
        "When the objects of ended executions are deleted. The newest version of the config decides.",
        "they are kept",
    ),
    Key(
        "datasets",
        "mapping",
        "What readers use, by name. The newest version of the config decides.",
        "none",
    ),
    Key("routes", "mapping", "At least one route, by name. Names follow the rules of `name`.", required=True),
)

TABLES: Final[Sequence[tuple[str, Sequence[Key]]]] = (
    ("", CONFIG),
    ("error_handling", ERRORS),
    ("retention", RETENTION),
    ("datasets.<dataset>", DATASET),
    ("routes.<route>", ROUTE),
    ("routes.<route>.inbound", INBOUND),
    ("routes.<route>.rate_limit", RATE_LIMIT),
    ("routes.<route>.adapters.<n>", STEP),
    ("routes.<route>.adapters.<n>.rate_limit", RATE_LIMIT),
    ("routes.<route>.adapters.<n>.condition", CONDITION),
    ("routes.<route>.outbound", OUTBOUND),
    ("routes.<route>.error_handling", ERRORS),
)
"""All mappings of a config, by their path."""


def names(keys: Sequence[Key]) -> tuple[str, ...]:
    """Return the names of keys."""
    return tuple(key.name for key in keys)


def table(spot: Spot, keys: Sequence[Key], *, elsewhere: Mapping[str, str] | None = None) -> Table:
    """Read a mapping that may have these keys; see `Table`."""
    required = names([key for key in keys if key.required])
    return Table(spot, names(keys), required, elsewhere=elsewhere)
