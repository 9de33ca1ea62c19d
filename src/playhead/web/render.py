"""Templates, formats and headers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from playhead.failures import parts_of
from playhead.model import TextPart
from playhead.terminal import visible
from playhead.web.links import link
from playhead.web.page import Missing, url
from playhead.web.states import STATES, STUCK
from playhead.wording import publication_text, published_text, wait_text

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"
STYLES: Final = tuple(_HERE / "styles" / f"{name}.css" for name in ("parts", "pages", "lists", "result"))
"""The parts of the style sheet, in their order."""
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_MOST_OF_ERROR: Final = 240
"""Characters of an error in a list."""
_FORMS: Final = {"full": "%Y-%m-%d %H:%M:%S", "time": "%H:%M:%S", "hour": "%H:%M", "day": "%Y-%m-%d"}
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


@cache
def assets_hash() -> str:
    """Return a hash of all assets. It is part of their URLs, so browsers may keep them forever."""
    found = sha256()
    for file in (*sorted(STATIC.iterdir()), *STYLES):
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:12]


@cache
def style_sheet() -> bytes:
    """Return all styles as one file, without comments, and without spaces that mean nothing."""
    text = "".join(file.read_text("utf-8") for file in STYLES)
    text = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))
    return re.sub(r" ?([{};]) ?", r"\1", text).encode()


def number(value: float | None) -> str:
    """Return `1,201`, or `0.4` below 10, or a dash if it is not known."""
    if value is None:
        return "–"
    return f"{value:,.1f}" if isinstance(value, float) and value < 10 else f"{value:,.0f}"


def marked(error: str | Sequence[TextPart], most: int = _MOST_OF_ERROR) -> Markup:
    """Return an error with marks around what may differ between failures alike.

    Args:
        error: its text, or its parts.
        most: characters of it.
    """
    parts = parts_of(error) if isinstance(error, str) else ((one.text, one.varies) for one in error)
    found, left = Markup(""), most
    for text, differs in parts:
        shown = visible(text if len(text) <= left else f"{text[:left]}…")
        found += Markup("<mark>{}</mark>").format(shown) if differs else escape(shown)
        left -= len(text)
        if left < 0:
            break
    return found


def capped(value: int, most: int = 10_000) -> str:
    """Return `1,201`, or `10,000+` if the counting ended at `most`."""
    return f"{value:,}" if value < most else f"{most:,}+"


def counted(value: int | None, noun: str, plural: str | None = None) -> str:
    """Return `1 object`, or `1,201 objects`."""
    return f"{number(value)} {noun if value == 1 else plural or noun + 's'}"


def size(value: int | None) -> str:
    """Return `9.8 MB`: decimal units."""
    if value is None:
        return "–"
    amount, unit = float(value), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit and amount < 99.95 else f"{amount:.0f} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """Return `41 ms`, `2.1 s`, `6 m 12 s`, `3 h 05 m`."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} m" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Return the seconds between two times, or None if one is not known."""
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def clock(value: str | None, form: str = "full", live: str | None = None) -> Markup:
    """Return a `<time>` element in UTC. The script may show it in local time.

    Args:
        value: RFC 3339 in UTC.
        form: `full` (date and time), `time`, `hour` (hours and minutes), or `day`.
        live: name of the live number that replaces the time; None without one.
    """
    if value is None:
        return Markup("–")
    moment = datetime.fromisoformat(value).astimezone(UTC)
    shown = moment.strftime(_FORMS[form])
    whole = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
    named = f' data-live="{escape(live)}"' if live else ""
    return Markup(f'<time datetime="{whole}" data-form="{form}"{named}>{shown}</time>')


def short(value: UUID | str) -> str:
    """Return the last digits of an id, by which commands and Find accept it."""
    return str(value)[-8:]


def plain(value: object) -> Any:
    """Return a view as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def as_json(value: object) -> bytes:
    return json.dumps(plain(value), ensure_ascii=False, indent=2).encode(errors="replace")


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of the navigation."""

    name: str
    text: str
    href: str


SECTIONS: Final = (
    Section("now", "Now", "/"),
    Section("executions", "Executions", "/executions"),
    Section("replays", "Replays", "/replays"),
    Section("dead-letters", "Dead letters", "/dead-letters"),
    Section("datasets", "Datasets", "/datasets"),
    Section("configs", "Configs", "/configs"),
    Section("queues", "Queues", "/queues"),
)


@cache
def environment(version: str) -> Environment:
    """Return the templates with their formats. All values are escaped."""
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=200,
    )
    made.filters |= {
        "n": number,
        "size": size,
        "duration": duration,
        "clock": clock,
        "short": short,
        "marked": marked,
        "visible": visible,
        "published": published_text,
        "publication": publication_text,
        "wait": wait_text,
    }
    made.tests["missing"] = lambda part: isinstance(part, Missing)
    made.globals |= {
        "url": url,
        "link": link,
        "capped": capped,
        "counted": counted,
        "seconds_between": seconds_between,
        "sections": SECTIONS,
        "STATES": STATES,
        "STUCK": STUCK,
        "assets": f"/assets/{assets_hash()}",
        "version": version,
    }
    return made
