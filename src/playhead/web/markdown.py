"""Markdown as HTML that can do nothing: no raw HTML, no images, no scripts, and a limit on the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

_MOST_STEPS: Final = 15_000
"""Calls of parser rules. 64 kB of ordinary text need 3,000; 64 kB of `[` would need 128,000 and 0.6 s."""
_MOST_CELLS: Final = 5_000
"""Cells of a table. 5,000 take 0.3 s."""
_STEPS: Final = "steps"
_LINKS: Final = ("https://", "http://", "mailto:")
_FIRST_LEVEL: Final = 3
"""Level of the highest heading: `h1` and `h2` are those of the page."""


class _TooMuch(Exception):
    """The text needs more steps than allowed."""


def _spend(env: Any) -> bool:
    env[_STEPS] = steps = env.get(_STEPS, 0) + 1
    if steps > _MOST_STEPS:
        raise _TooMuch
    return False


def _spend_inline(state: StateInline, silent: bool) -> bool:
    return _spend(state.env)


def _spend_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return _spend(state.env)


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse a table, unless it is too large. Even a short row has as many cells as the header."""

    def line(number: int) -> str:
        return state.src[state.bMarks[number] : state.eMarks[number]]

    if start + 1 < end and "-" in line(start + 1) and not line(start + 1).strip("-:| \t"):
        rows = next((n for n in range(start, end) if state.isEmpty(n)), end) - start
        if rows * (line(start).count("|") + 1) > _MOST_CELLS:
            raise _TooMuch
    return table(state, start, end, silent)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20})
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.inline.ruler.before("text", _STEPS, _spend_inline)
    parser.block.ruler.before("table", _STEPS, _spend_block)
    parser.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    return parser


_PARSER: Final = _parser()


def render(text: str) -> str | None:
    """Return Markdown as HTML; None if it needs more work than allowed, at most about 0.3 s.

    Links lead only to `http`, `https` and `mailto`; others stay text. No element has a style, an id or an
    attribute that a script could use.
    """
    env: dict[str, Any] = {}
    try:
        tokens = _PARSER.parse(text, env)
        return str(_PARSER.renderer.render(_harmless(tokens), _PARSER.options, env))
    except (_TooMuch, RecursionError):
        return None


def _harmless(tokens: Sequence[Token]) -> list[Token]:
    """Remove what the policy of the page forbids, and move headings below those of the page."""
    kept: list[Token] = []
    is_dropped: list[bool] = []
    for token in tokens:
        if token.children:
            token.children = _harmless(token.children)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + _FIRST_LEVEL - 1, 6)}"
        elif token.type in ("th_open", "td_open", "fence"):
            token.attrs = {}
            token.info = ""
        elif token.type == "link_open":
            href = str(token.attrGet("href") or "")
            is_dropped.append(not href.lower().startswith(_LINKS))
            if is_dropped[-1]:
                continue
            token.attrs = {"href": href, "rel": "noopener noreferrer nofollow", "target": "_blank"}
        elif token.type == "link_close" and is_dropped.pop():
            continue
        kept.append(token)
    return kept
