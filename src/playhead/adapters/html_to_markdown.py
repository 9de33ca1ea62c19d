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

_META_BYTES: Final = 1024
_CHARSET: Final = re.compile(r"charset *= *[\"']?([\w-]+)", re.I | re.A)
_META: Final = re.compile(rf"<meta[^>]+{_CHARSET.pattern}", re.I | re.A)
_OF_THE_WEB: Final = re.compile(
    r"(us-)?ascii|latin-?1|iso-8859-\d+|windows-\d+|koi8-[ru]|gbk|gb2312|gb18030|big5|euc-(jp|kr)|shift_jis"
    r"|utf-16(le|be)?"
)
"""Python has other codecs too, and some of them take quadratic time."""
_SUPERSETS: Final = {
    **dict.fromkeys(("ascii", "us-ascii", "latin1", "latin-1", "iso-8859-1"), "windows-1252"),
    **dict.fromkeys(("gbk", "gb2312"), "gb18030"),
    "shift_jis": "cp932",
    "euc-kr": "cp949",
}
"""What browsers use instead (WHATWG encoding standard)."""
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
    spaces become spaces. A page that is not UTF-8 is decoded with the charset of its content type, or of a
    `<meta>` element. An item that is not HTML, cannot be decoded, or cannot be converted completely (nested
    too deep) is rejected.
    """
    if item.content_type.partition(";")[0].strip().lower() not in _HTML:
        raise Reject(f"cannot read {item.content_type}: not HTML")
    text = _decoded(item).removeprefix("\ufeff")
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


def _decoded(item: Item) -> str:
    try:
        return item.data.decode()
    except UnicodeDecodeError:
        pass
    head = item.data[:_META_BYTES].decode("ascii", "replace")
    declared = _CHARSET.search(item.content_type) or _META.search(head)
    charset = declared[1].lower() if declared else ""
    if not _OF_THE_WEB.fullmatch(charset):
        raise Reject("not UTF-8, and neither its content type nor the page names another known charset")
    try:
        return item.data.decode(_SUPERSETS.get(charset, charset))
    except (UnicodeDecodeError, LookupError) as exc:
        raise Reject(f"neither UTF-8 nor {charset}") from exc


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
