"""`/help`: keys and terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.web.page import Ask, Page, Shown

KEYS: Final = (
    ("/", "Go to the Find box"),
    ("g n", "Go to Now; g e, g r, g d, g p (datasets), g c and g q go to the other pages of the navigation"),
    (
        "j k",
        "Next row, previous row of a list; Enter opens it. Next object, previous object of a replay's result",
    ),
    ("y n", "In the result of a replay: the object looks right, looks wrong"),
    ("e", "Go to the first failure on the page"),
    ("?", "Open this page"),
    ("← → ↑ ↓", "In a graph: follow its lines from box to box"),
)
TERMS: Final = (
    ("execution", "One run or one replay of a pipeline, with all of its messages and stored objects."),
    ("stage", "A folder of an execution, into which a route stores its outputs. A stage can be replayed."),
    ("route", "A step of a pipeline: a queue, a chain of adapters, and the routes that receive the outputs."),
    ("replay", "A new execution that sends the stored objects of a stage to a route again."),
    ("plan", "The list of objects that a replay would send. A replay from a plan sends exactly these."),
    ("dataset", "What readers use of a config. It changes only when a run or a replay is published."),
    ("publication", "A numbered version of a dataset. A rollback shows readers an earlier one."),
    ("canary", "The first objects of a replay. The others follow unless too many of these fail."),
    ("guard", "A check after each group of objects of a replay: it is paused if too many of them fail."),
    ("cause", "Failures with the same error, in any route and execution. Values in its text may differ."),
    ("repeat", "A dead letter of an object that has failed before in the same route."),
    ("rejected", "The adapter has refused the object. Unlike after an exception, it is not tried again."),
    (
        "old code",
        "Code that a worker loaded before the source changed. Restart the worker to load the new one.",
    ),
    (
        "external route",
        "A route whose messages another program receives. No worker consumes its queue.",
    ),
    ("message", "One object on its way through one route."),
    ("dead letter", "A message that failed for good. It is processed again only after a resend."),
    ("lineage", "The messages from which an object results, and those that used it, also across replays."),
    ("adapter", "The code of a step of a route."),
    ("effects", "What a route changes outside of Playhead: calls of paid APIs, messages to other programs."),
)


@dataclass(frozen=True, slots=True)
class HelpView:
    """Keys and terms, each with its meaning."""

    keys: Sequence[tuple[str, str]]
    terms: Sequence[tuple[str, str]]


async def show(ask: Ask) -> Shown[HelpView]:
    return Shown("Help", HelpView(KEYS, TERMS))


PAGES: Final = (Page("/help", "help.html", show, scope="any"),)
