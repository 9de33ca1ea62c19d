"""`html_to_markdown`: a page of HTML becomes a page of markdown."""

from __future__ import annotations

from html.parser import HTMLParser

from html_to_markdown import ConversionOptions, convert

from playhead import Item, Output, Reject, adapter

_HTML = ("text/html", "application/xhtml+xml")
# Metadata would come as front matter at the top of the text, also of pages that have none to tell.
_OPTIONS = ConversionOptions(extract_metadata=False)

_HEAD_CHARACTERS = 262_144
"""Where a title is looked for: the parser takes time that grows faster than some broken pages."""


@adapter("html_to_markdown", produces="text/markdown")
def html_to_markdown(item: Item) -> Output:
    """Turn HTML into markdown.

    The attribute `title` is the page's `<title>`, where it has one. Non-breaking spaces become spaces.
    What is not HTML, not UTF-8, or can't be converted whole (nested too deep) is rejected.
    """
    if item.content_type.partition(";")[0].strip().lower() not in _HTML:
        raise Reject(f"cannot read {item.content_type}: not HTML")
    text = item.text.removeprefix("\ufeff")
    result = convert(text, _OPTIONS)
    if result.warnings:
        # The library goes on with what is left, which may be nothing at all.
        raise Reject("cannot convert the whole page: " + "; ".join(w.message for w in result.warnings))
    title = _title(text)
    return item.derive(
        (result.content or "").replace("\xa0", " "),
        **({"title": title} if title else {}),
    )


class _Found(Exception):
    """The head has been read as far as needed."""


class _Head(HTMLParser):
    """Reads up to the end of the title, or of the head."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "title" and self.pieces is None:
            self.pieces = []
        elif tag == "body":
            raise _Found

    def handle_endtag(self, tag: str) -> None:
        if tag in ("title", "head"):
            raise _Found

    def handle_data(self, data: str) -> None:
        if self.pieces is not None:
            self.pieces.append(data)


def _title(html: str) -> str:
    """The text of `<title>`, white space collapsed; empty where there is none."""
    start = html[:_HEAD_CHARACTERS]
    if "<title" not in start.lower():
        return ""
    head = _Head()
    try:
        head.feed(start)
        head.close()
    except (_Found, AssertionError):  # the second: the standard library's word for broken markup
        pass
    return " ".join("".join(head.pieces or ()).split())
