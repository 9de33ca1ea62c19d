"""`html_to_markdown`: convert a page from HTML to markdown."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

from html_to_markdown import ConversionOptions, convert

from playhead import Item, Output, Reject, adapter

_HTML = ("text/html", "application/xhtml+xml")
# With it, the text would start with metadata as front matter.
_OPTIONS = ConversionOptions(extract_metadata=False)

_HEAD_CHARACTERS: Final = 262_144
"""The part of a page that is searched for its title."""
_BARE: Final = re.compile(r"&(?![#\w]{1,32};)", re.A)
_MANY: Final = 10_000
"""For each `&` that begins no reference, the library reads on to the end of a title."""
_TITLE_CHARACTERS: Final = 1_000
_MARK: Final = re.compile(r"<!--|<[!?]|<(?:title|script|style|body)(?=[\s/>])|</head(?=[\s/>])", re.I | re.A)
_CLOSED: Final = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.I | re.A) for name in ("title", "script", "style")
}


@adapter("html_to_markdown", produces="text/markdown")
def html_to_markdown(item: Item) -> Output:
    """Turn HTML into markdown.

    The attribute `title` is the page's `<title>`, if it has one, cut at 1,000 characters. Non-breaking
    spaces become spaces. An item that is not HTML, is not UTF-8 or cannot be converted completely (nested
    too deep) is rejected.
    """
    if item.content_type.partition(";")[0].strip().lower() not in _HTML:
        raise Reject(f"cannot read {item.content_type}: not HTML")
    text = item.text.removeprefix("\ufeff")
    if text.count("&") > _MANY:
        text = _BARE.sub("&amp;", text)
    result = convert(text, _OPTIONS)
    if result.warnings:
        # The library drops the rest of the page, which may be all of it.
        raise Reject("cannot convert the whole page: " + "; ".join(w.message for w in result.warnings))
    title = _title(text)
    return item.derive(
        (result.content or "").replace("\xa0", " "),
        **({"title": title} if title else {}),
    )


def _title(html: str) -> str:
    """The text of `<title>`, white space collapsed; empty without a title.

    Every character is read once: parsers of the standard library take quadratic time for broken markup.
    """
    head = html[:_HEAD_CHARACTERS]
    at = 0
    while mark := _MARK.search(head, at):
        word = mark[0].lower()
        if word == "<title":
            opened = head.find(">", mark.end())
            closed = _CLOSED["title"].search(head, opened + 1)
            text = head[opened + 1 : closed.start() if closed else None] if opened >= 0 else ""
            return " ".join(unescape(text).split())[:_TITLE_CHARACTERS].rstrip()
        if word == "<!--":
            at = head.find("-->", mark.end())
        elif word in ("<script", "<style"):
            closed = _CLOSED[word[1:]].search(head, mark.end())
            at = closed.end() if closed else -1
        elif word in ("<!", "<?"):
            at = head.find(">", mark.end())
        else:  # the end of the head
            break
        if at < 0:
            break
    return ""
