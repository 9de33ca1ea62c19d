"""Which objects of a stage a replay selects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from annotated_types import Interval, Len

from playhead.globs import compile_glob
from playhead.ids import now
from playhead.limits import InvalidValue, Limited, Meets, NoNul, check
from playhead.model.code import made_by_of
from playhead.times import fixed_time, fixed_times

Only = Literal["failed", "unfinished"]

MOST_PATHS: Final = 200_000
_MOST_IN_PATH: Final = 1_024
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/(\*|[\w!#$&^.+-]+)", re.ASCII)


def _check_media_type(text: str) -> None:
    if not _MEDIA_TYPE.fullmatch(text):
        raise ValueError("is not a media type: write text/html, or text/* for all types of text")


def _check_paths(paths: Sequence[str]) -> None:
    for path in paths:
        if not 0 < len(path) <= _MOST_IN_PATH or "\0" in path:
            raise ValueError(f"has a path that is empty, too long, or has a NUL character: {path[:100]!r}")


Globs = Annotated[list[Annotated[str, Len(0, 1_000), Meets(compile_glob)]], Len(1, 100)]
IS_TIME: Final = Meets(lambda text: fixed_time(text, now()))
Time = Annotated[str, Len(0, 100), IS_TIME]
MediaType = Annotated[str, Len(0, 200), Meets(_check_media_type)]


@dataclass(frozen=True, slots=True)
class Selection(Limited):
    """Which objects of the stage are replayed. An object must meet all conditions that are not None.

    Attributes:
        include: globs, one of which must match the path under the stage. `*` stands for text within a
            segment, `**` for any number of segments; also `?`, `[a-z]`, `[!a-z]`.
        paths: exactly these objects, by their paths under the stage. All of them must be in the stage.
        exclude: globs of which none may match; stronger than `include`.
        modified_after: only objects that were written at this time or later: a time with an offset, as in
            `2026-01-31T18:00:00Z`, or the time before the request, as in `-24h` or `-7d` (units `s`, `m`,
            `h`, `d`, `w`).
        modified_before: only objects that were written before this time, in the same form.
        content_type: only objects of one of these media types; `text/*` includes all types of text. The type
            of an object of another program follows from its suffix.
        attributes: only objects that have these attributes with equal JSON values. Objects of other programs
            have none.
        only: `failed`: a message that received the object, or one below it, is a dead letter. `unfinished`:
            also if one was cancelled, or if no message received the object. The execution must have ended.
        in_replay: replay batch of the source whose messages `only` or `made_by` is about; None: those of the
            source.
        limit: only the first objects, in byte order of their keys.
        made_by: only objects for which the route has a result of such code. `chunk<2`: an adapter of an older
            version; `chunk=1`, `chunk=sha256:ab12`: this version or code. Of a publication also
            `ROUTE!=newest`: other code or settings than the newest; of a run or a replay also `worker:ID`.
    """

    include: Globs | None = None
    exclude: Globs | None = None
    modified_after: Time | None = None
    modified_before: Time | None = None
    content_type: Annotated[list[MediaType], Len(1, 100)] | None = None
    attributes: Annotated[Mapping[str, Any], Len(1, 20)] | None = None
    only: Only | None = None
    in_replay: UUID | None = None
    limit: Annotated[int, Interval(ge=1, le=2**53)] | None = None
    paths: Annotated[list[str], Len(1, MOST_PATHS), Meets(_check_paths)] | None = None
    made_by: Annotated[str, Len(0, 200), NoNul, Meets(made_by_of)] | None = None

    def __post_init__(self) -> None:
        check(self)
        if self.in_replay is not None and self.only is None and self.made_by is None:
            raise InvalidValue(
                "in_replay", "needs `only` or `made_by`, which it is about; send both, or leave it out"
            )

    def fixed(self, now: float) -> Selection:
        """Return the selection with fixed times."""
        times = {name: getattr(self, name) for name in ("modified_after", "modified_before")}
        return replace(self, **fixed_times(now, **times))
