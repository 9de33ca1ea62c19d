"""The content of an object as its page shows it: as text, rendered, as bytes, or as changes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final, Literal

from playhead import textdiff
from playhead.model import ObjectVersion
from playhead.services import Services
from playhead.textdiff import Diff, Hunk
from playhead.web import markdown
from playhead.web.page import url
from playhead.web.preview import (
    LIMIT,
    MOST_RENDERED,
    Head,
    HexRow,
    Kind,
    decoded,
    hex_rows,
    read_head,
    reindented,
    shown,
)
from playhead.web.single_thread import in_turn

View = Literal["changes", "formatted", "rendered", "text", "bytes"]
VIEWS: Final[tuple[View, ...]] = ("changes", "formatted", "rendered", "text", "bytes")
_NAMES: Final = {view: view.capitalize() for view in VIEWS}
_OF_KIND: Final[dict[Kind, tuple[View, ...]]] = {
    "text": ("text", "bytes"),
    "json": ("formatted", "text", "bytes"),
    "markdown": ("text", "rendered", "bytes"),
    "html": ("text", "rendered", "bytes"),
    "image": ("rendered", "bytes"),
    "pdf": ("rendered", "bytes"),
    "binary": ("bytes",),
}
_MOST_LINES: Final = 1000


@dataclass(frozen=True, slots=True)
class Tab:
    """A way to show the content.

    Attributes:
        view: value of `view` in the URL.
        text: its name.
        href: URL of the page with this view.
    """

    view: View
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference from another object of the same path.

    Attributes:
        against: the other object.
        is_same: whether both have the same SHA-256.
        added: number of added lines.
        removed: number of removed lines.
        hunks: the changed lines, with three lines around each.
        hidden: number of lines after the last one that is shown.
        is_exact: false if parts are shown as whole blocks, because a shorter difference takes too long.
        note: what was compared, if that is not all of both texts.
    """

    against: ObjectVersion
    is_same: bool
    added: int = 0
    removed: int = 0
    hunks: Sequence[Hunk] = ()
    hidden: int = 0
    is_exact: bool = True
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ContentView:
    """The content of an object.

    Attributes:
        content_type: that of its sidecar, or else of its suffix.
        size: bytes of the whole object.
        kind: what it is, by its type and its first bytes.
        view: how it is shown.
        tabs: the ways to show it.
        text: the text, with control characters as escapes; None in another view.
        html: rendered Markdown without anything that a browser runs or loads; None in another view.
        embedded: URL of the bytes, if the browser renders them: an image, HTML or PDF; None in another view.
        rows: the first bytes in hex; empty in another view.
        changes: the difference; None in another view.
        note: what is not shown, and why; None if all is shown.
    """

    content_type: str
    size: int
    kind: Kind
    view: View
    tabs: Sequence[Tab]
    text: str | None = None
    html: str | None = None
    embedded: str | None = None
    rows: Sequence[HexRow] = ()
    changes: Changes | None = None
    note: str | None = None


async def head_of(services: Services, key: str) -> Head:
    """Return the first 64 kB of an object, and read no more of it.

    Raises:
        NotFound: `object_not_found`, `object_pruned`.
    """
    content = await services.objects.content(key, limit=LIMIT)
    async with aclosing(content.chunks) as chunks:
        return await read_head(chunks, content.size, content.content_type)


async def content_view(
    services: Services,
    key: str,
    asked: str | None,
    version: ObjectVersion | None,
    against: ObjectVersion | None,
    lineage: str | None = None,
) -> ContentView:
    """Return what is shown of an object.

    Args:
        asked: the view that was asked for; None: the best one.
        version: the object among the versions of its path; None if it is not recorded.
        against: the version that it is compared with; None: no comparison is offered.
        lineage: value of `lineage` in the URL, which the tabs keep.
    """
    head = await head_of(services, key)
    kind = head.kind
    views: list[View] = [*_OF_KIND[kind]]
    if against:
        views.insert(0, "changes")
    if asked in views:
        view = next(one for one in views if one == asked)
    elif against and version and version.sha256 != against.sha256 and kind not in ("image", "pdf"):
        view = "changes"
    else:
        view = _OF_KIND[kind][0]
    compared = against.key if against else None
    tabs = [
        Tab(
            one,
            _NAMES[one],
            url(
                "/objects", key=key, view=one, against=compared if one == "changes" else None, lineage=lineage
            ),
        )
        for one in views
    ]
    base = ContentView(head.content_type, head.size, kind, view, tabs)
    if view == "changes" and against:
        is_same = version is not None and version.sha256 == against.sha256
        other = head if is_same else await head_of(services, against.key)
        return replace(base, changes=await in_turn(_changes, head, other, against, is_same))
    if view == "rendered" and kind != "markdown":
        if head.size > MOST_RENDERED:
            return replace(base, note="Objects of more than 20 MB are not rendered here. Save it to open it.")
        return replace(base, embedded=url("/objects/raw", key=key))
    return await in_turn(_shown, base, head)


def _shown(base: ContentView, head: Head) -> ContentView:
    if base.view == "bytes":
        rows = hex_rows(head.data)
        cut = len(rows) * 16 < head.size
        return replace(base, rows=rows, note="The first 4 kB are shown." if cut else None)
    text = decoded(head.data)
    note = None if head.is_whole else "The first 64 kB are shown."
    if base.view == "formatted":
        formatted = reindented(text) if head.is_whole else None
        if formatted is None:
            why = (
                "it is longer than 64 kB"
                if not head.is_whole
                else "it is not valid JSON, or nested too deeply"
            )
            note = f"Not re-indented, because {why}."
        return replace(base, text=shown(formatted or text), note=note)
    if base.view == "rendered":
        html = markdown.render(shown(text))
        if html is not None:
            return replace(base, html=html, note=note)
        note = "Shown as text, because rendering it takes too long."
    return replace(base, text=shown(text), note=note)


def _changes(new: Head, old: Head, against: ObjectVersion, is_same: bool) -> Changes:
    """Compare two objects; `old` is the other one."""
    if is_same:
        return Changes(against, True)
    if not are_texts(new, old):
        return Changes(against, False, note="The bytes differ. They are not text, so no lines are compared.")
    before, after, note = texts_of(new, old)
    return _compared(textdiff.compare(before, after), against, note)


def are_texts(new: Head, old: Head) -> bool:
    """Whether the lines of two objects can be compared."""
    return not {"binary", "pdf"} & {new.kind, old.kind}


def texts_of(new: Head, old: Head) -> tuple[str, str, str | None]:
    """Return the texts of two objects to compare, the old one first, and a note about what is compared."""
    before, after = decoded(old.data), decoded(new.data)
    note = None
    if new.kind == old.kind == "json" and new.is_whole and old.is_whole:
        formatted = reindented(before), reindented(after)
        if formatted[0] and formatted[1]:
            before, after = formatted[0], formatted[1]
            note = "Both are compared as re-indented JSON."
    if not (new.is_whole and old.is_whole):
        note = f"The first {LIMIT // 1024} kB of each are compared."
    return _lines(before, old), _lines(after, new), note


def _lines(text: str, head: Head) -> str:
    """Return text to compare. No newline is missing where a head is cut off."""
    return shown(text) + ("" if head.is_whole or text.endswith("\n") else "\n")


def _compared(diff: Diff, against: ObjectVersion, note: str | None) -> Changes:
    hunks, hidden = textdiff.hunks(diff, limit=_MOST_LINES)
    if not diff.added and not diff.removed:
        note = " ".join(filter(None, (note, "Only white space, line ends or control characters differ.")))
    return Changes(against, False, diff.added, diff.removed, hunks, hidden, diff.is_exact, note)
