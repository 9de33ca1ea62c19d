"""The options of `replay` about a canary and a guard, and the values that they mean."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from playhead.cli.session import Usage, limits_of
from playhead.model import Canary, Guard

_CONDITION: Final = re.compile(r"failed *> *(\d+(?:\.\d+)?)(%?)")

Objects = Annotated[
    int | None,
    typer.Option(
        "--canary",
        metavar="K",
        help="Publish only K objects, the first ones, until their messages are processed.",
    ),
]
MaxFailed = Annotated[
    float | None,
    typer.Option(
        "--max-failed",
        metavar="N",
        help="With --canary: pause the replay if more than N of these objects fail. N is a number "
        "(default: 0), or a share below 1.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="With --canary: publish a random sample first, not the first objects. The same seed takes "
        "the same sample.",
    ),
]
PauseIf = Annotated[
    str | None,
    typer.Option(
        "--pause-if",
        metavar="'failed>N'",
        help="Pause the replay whenever more than N of the last objects fail. N is a number, a share "
        "below 1, or a percentage like 2%.",
    ),
]
OfLast = Annotated[
    int | None,
    typer.Option(
        "--of-last",
        metavar="K",
        help="With --pause-if: wait after every K objects until their messages are processed (default: 500).",
    ),
]


def canary_of(objects: int | None, max_failed: float | None, seed: int | None) -> Canary | None:
    """Return the canary that the options ask for. Raises `Usage`."""
    if objects is None:
        for option, given in (("--max-failed", max_failed), ("--seed", seed)):
            if given is not None:
                raise Usage(f"{option} is about the objects of a canary; add --canary")
        return None
    with limits_of(objects="--canary"):
        return Canary(objects, max_failed or 0, seed)


def guard_of(condition: str | None, of_last: int | None) -> Guard | None:
    """Return the guard that the options ask for. Raises `Usage`."""
    if condition is None:
        if of_last is not None:
            raise Usage("--of-last is about the objects of --pause-if; add --pause-if 'failed>2%'")
        return None
    found = _CONDITION.fullmatch(condition.strip())
    number = float(found[1]) if found else 0.0
    is_share = bool(found and found[2])
    if not found or (is_share and number >= 100):
        raise Usage(f"--pause-if {condition!r} is not a condition; use 'failed>2%' or 'failed>10'")
    with limits_of(failed="--pause-if"):
        most = number / 100 if is_share else number
        return Guard(most) if of_last is None else Guard(most, of_last)
