"""Every key that a config may have: its type, its bounds, its default, and what it is.

The readers take bounds and defaults from here, and the reference page is written from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from playhead.config.fields import NAME, QUEUE
from playhead.model import ErrorHandling, Operator

VERSION: Final = "1.0"

_YEAR: Final = 31_536_000
_ERRORS: Final = ErrorHandling()


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a config.

    Attributes:
        kind: what its value is, for a reader.
        about: what it is for.
        default: what holds without it, as it would be written; empty where that is nothing or is told.
        required: it can't be left out.
    """

    name: str
    kind: str
    about: str
    default: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Key):
    """A whole number of `low` to `high`."""

    kind: str = "whole number"
    otherwise: int
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Real(Key):
    """A number of `low` (not itself when `above`) to `high`."""

    kind: str = "number"
    otherwise: float
    low: float
    high: float
    above: bool = False


MAX_ATTEMPTS: Final = Whole(
    name="max_attempts",
    otherwise=_ERRORS.max_attempts,
    low=1,
    high=100,
    about="How often a message is tried; the last one that fails makes a dead letter.",
)
RETRY_DELAY: Final = Real(
    name="retry_delay_seconds",
    otherwise=_ERRORS.retry_delay_seconds,
    low=0,
    high=86_400,
    about="Before the second attempt.",
)
BACKOFF: Final = Real(
    name="backoff",
    otherwise=_ERRORS.backoff,
    low=1,
    high=10,
    about="Each delay is so many times the one before.",
)
MAX_DELAY: Final = Real(
    name="max_delay_seconds",
    otherwise=_ERRORS.max_delay_seconds,
    low=0,
    high=_YEAR,
    about="No delay is longer.",
)
CONCURRENCY: Final = Whole(
    name="concurrency", otherwise=4, low=1, high=1024, about="Messages at once in a worker process."
)
PREFETCH: Final = Whole(
    name="prefetch",
    otherwise=0,
    low=1,
    high=10_000,
    default="as many as the route needs",
    about="Messages held ahead; under `concurrency` it is raised to that (W102).",
)
TIMEOUT: Final = Real(
    name="timeout_seconds",
    otherwise=300,
    low=0,
    high=_YEAR,
    above=True,
    about="For one message, through all adapters.",
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
    PREFETCH,
)
OUTBOUND: Final = (
    Key(
        "stage",
        "text",
        "Where outputs are stored: segments of letters, digits, `.`, `_` and `-` that begin with a letter or "
        "digit, joined by `/`. One stage, one route; `input` and names that begin with `_` are reserved.",
        required=True,
    ),
    Key("to", "list of routes", "Every output goes to each of these routes; no circles.", "`[]`"),
)
CONDITION: Final = (
    Key("field", "text", "`content_type`, `path`, `size`, `stage` or `attributes.<name>`.", required=True),
    Key("operator", " ".join(f"`{word}`" for word in get_args(Operator)), "See above.", "`equals`"),
    Key("value", "by operator", "What the field is compared with; only `exists` can do without."),
    Key("otherwise", "`pass` `drop`", "Where it is false: go on unchanged, or end here.", "`pass`"),
)
STEP: Final = (
    Key("type", "text", "The adapter; `playhead adapters` lists those there are.", required=True),
    Key("config", "mapping", "The adapter's own settings, checked by its model.", "`{}`"),
    Key("condition", "mapping", "Only items for which it is true go through this step."),
)
ROUTE: Final = (
    Key("description", "text", "For people."),
    Key("inbound", "mapping", "Its queue."),
    TIMEOUT,
    Key(
        "external",
        "true or false",
        "Another program consumes the queue: then there are no `adapters` and no `outbound`.",
        "`false`",
    ),
    Key(
        "adapters",
        "list of steps",
        "At least one; each takes what the one before gives. Required, unless the route is `external`.",
    ),
    Key("outbound", "mapping", "Where outputs go; without it, the last adapter must give nothing."),
    Key("error_handling", "mapping", "Single fields laid over those of the config."),
)
CONFIG: Final = (
    Key("version", "text", f'The version of this format: `"{VERSION}"`, quoted.', required=True),
    Key("name", "text", f"The config's name: {NAME.meaning}.", required=True),
    Key("description", "text", "For people."),
    Key("entry", "text", "The route that a run's inputs go to.", required=True),
    Key("error_handling", "mapping", "For all routes."),
    Key("routes", "mapping", "At least one, by name; names are as `name` is.", required=True),
)

TABLES: Final[Sequence[tuple[str, Sequence[Key]]]] = (
    ("", CONFIG),
    ("error_handling", ERRORS),
    ("routes.<route>", ROUTE),
    ("routes.<route>.inbound", INBOUND),
    ("routes.<route>.adapters.<n>", STEP),
    ("routes.<route>.adapters.<n>.condition", CONDITION),
    ("routes.<route>.outbound", OUTBOUND),
    ("routes.<route>.error_handling", ERRORS),
)
"""All mappings of a config, by where they stand."""


def names(keys: Sequence[Key]) -> tuple[str, ...]:
    """What the keys of a mapping are called."""
    return tuple(key.name for key in keys)


def required(keys: Sequence[Key]) -> tuple[str, ...]:
    """Those of them that can't be left out."""
    return tuple(key.name for key in keys if key.required)
