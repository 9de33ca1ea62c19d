"""What is shown of an object's content. Any program may have written it: neither bytes nor type are trusted.

A preview reads the first 64 kB. The bytes themselves have their own URL, with headers that keep a browser
from running them: see `raw_headers`.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

from playhead import keys
from playhead.terminal import visible

Kind = Literal["text", "json", "markdown", "html", "image", "pdf", "binary"]

LIMIT: Final = 64 * 1024
"""Bytes of an object that a preview reads."""
MOST_RENDERED: Final = 20 * 1024 * 1024
"""Bytes up to which a page embeds an image, HTML or PDF."""
_MOST_HEX: Final = 4096
_HEX_ROW: Final = 16
_MOST_JSON: Final = 4 * LIMIT
"""Characters of re-indented JSON: deep nesting would multiply its size."""

_IMAGES: Final = frozenset(
    f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "avif", "bmp", "x-icon", "svg+xml")
)
_KINDS: Final[dict[str, Kind]] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "application/json": "json",
    "application/pdf": "pdf",
    **dict.fromkeys(_IMAGES, "image"),
}
_BOMS: Final = ((BOM_UTF8, "utf-8"), (BOM_UTF16_LE, "utf-16-le"), (BOM_UTF16_BE, "utf-16-be"))
_BINARY_SHARE: Final = 0.1

# A sandbox without any permission: no scripts, no forms, no navigation of the page around it.
_NOTHING_RUNS: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of an object.

    Attributes:
        data: up to 64 kB.
        size: bytes of the whole object.
        content_type: as its sidecar describes it; only a hint.
    """

    data: bytes
    size: int
    content_type: str

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the object."""
        return len(self.data) >= self.size

    @property
    def kind(self) -> Kind:
        """What the object is, by its type and its first bytes."""
        return kind_of(self.content_type, self.data)


@dataclass(frozen=True, slots=True)
class HexRow:
    """A row of a hex dump: 16 bytes.

    Attributes:
        offset: of the first byte, in hex.
        hex: the bytes in hex.
        text: the bytes that are printable ASCII; others as dots.
    """

    offset: str
    hex: str
    text: str


async def read_head(chunks: AsyncIterator[bytes], size: int, content_type: str) -> Head:
    """Read the first 64 kB, and no more of the store than that."""
    data = bytearray()
    async for chunk in chunks:
        data += chunk[: LIMIT - len(data)]
        if len(data) == LIMIT:
            break
    return Head(bytes(data), size, content_type)


def kind_of(content_type: str, data: bytes) -> Kind:
    """Return what an object is. A declared type counts only if the first bytes do not contradict it."""
    bare = keys.bare(content_type)
    kind = _KINDS.get(bare, "json" if bare.endswith("+json") else None)
    if kind == "image":
        return "image"
    if kind == "pdf":
        return "pdf" if b"%PDF-" in data[:1024] else "binary" if is_binary(data) else "text"
    if is_binary(data):
        return "binary"
    return kind or "text"


def is_binary(data: bytes) -> bool:
    """Whether bytes are not text: they contain zero bytes, or many characters that no text has."""
    if any(data.startswith(bom) for bom, _ in _BOMS):
        return False
    if b"\0" in data:
        return True
    text = data.decode(errors="replace")
    odd = sum(character == "�" or (character < " " and character not in "\t\n\r\f\x1b") for character in text)
    return odd > _BINARY_SHARE * len(text)


def decoded(data: bytes) -> str:
    """Return bytes as text: UTF-8, or what a byte order mark says; invalid bytes become `�`."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, errors="replace")
    # A character that the limit has cut in two is left out.
    tail = next((n for n in range(1, 4) if data[-n:][:1] >= b"\xc0"), 0) if len(data) == LIMIT else 0
    if tail and not _is_utf8(data[-tail:]):
        data = data[:-tail]
    return data.decode(errors="replace")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def shown(text: str) -> str:
    r"""Return text with its control characters as escapes (`\x1b`), except tabs and line ends."""
    return visible(text.replace("\r\n", "\n"), keep="\n\t")


# -- JSON ------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


def reindented(text: str) -> str | None:
    """Return JSON with one value a line; None if it is not JSON, or if that would be too long.

    Only white space changes: numbers and repeated names stay as they are written.
    """
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    pieces: list[str] = []
    length = 0
    for piece in _laid_out(text):
        pieces.append(piece)
        length += len(piece)
        if length > _MOST_JSON:
            return None
    return "".join(pieces)


def _laid_out(text: str) -> Iterator[str]:
    depth = 0
    before = ""
    for token in _TOKEN.findall(text):
        if token in "]}":
            depth -= 1
            if before not in ("[", "{"):
                yield "\n" + "  " * depth
        elif before in ("[", "{", ","):
            yield "\n" + "  " * depth
        yield ": " if token == ":" else token
        if token in "[{":
            depth += 1
        before = token


# -- bytes -----------------------------------------------------------------------------------------


def hex_rows(data: bytes) -> list[HexRow]:
    """Return a hex dump of the first 4 kB."""
    rows: list[HexRow] = []
    for start in range(0, min(len(data), _MOST_HEX), _HEX_ROW):
        part = data[start : start + _HEX_ROW]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        rows.append(HexRow(f"{start:08x}", part.hex(" ", 4), text))
    return rows


# -- the bytes at their own URL --------------------------------------------------------------------


_CONNECTING: Final = ("link", "iframe", "frame", "fencedframe")
_ELEMENTS: Final = [
    re.compile(
        b"|".join(between.join(b"%c" % letter for letter in f"<{name}".encode()) for name in _CONNECTING),
        re.I,
    )
    for between in (b"", b"\0")  # UTF-8, and UTF-16 after a byte order mark
]
_LONGEST: Final = 2 * len("<fencedframe")


async def without_connections(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Rename the elements of HTML that connect to hosts, such as `<link`. The size stays the same.

    A sandbox and a policy keep browsers from loading anything. But Chromium connects to the host of a
    `<link rel="preconnect">` and of a frame before it refuses.
    """
    held = b""
    async for chunk in chunks:
        data = held + chunk
        for elements in _ELEMENTS:
            data = elements.sub(_renamed, data)
        cut = max(len(data) - _LONGEST, 0)  # an element may continue in the next chunk
        held = data[cut:]
        if cut:
            yield data[:cut]
    yield held


def _renamed(element: re.Match[bytes]) -> bytes:
    return re.sub(b"[a-zA-Z]", b"x", element[0], count=1)


def raw_headers(key: str, content_type: str) -> dict[str, str]:
    """Return the headers for the bytes of an object, with which a browser shows them but runs nothing.

    The type is one of a fixed list. Whatever has no safe type is saved, not shown.
    """
    bare = keys.bare(content_type)
    kind = _KINDS.get(bare, "text" if bare.startswith("text/") or bare.endswith("+json") else None)
    served = {
        "html": "text/html; charset=utf-8",
        "image": bare,
        "pdf": "application/pdf",
        None: keys.OCTET_STREAM,
    }.get(kind, "text/plain; charset=utf-8")
    return {
        "Content-Type": served,
        # At its own URL, an SVG is a document that may connect to hosts. In an `<img>` it is not.
        "Content-Disposition": disposition(
            key, "attachment" if kind is None or bare == "image/svg+xml" else "inline"
        ),
        "Content-Security-Policy": _NOTHING_RUNS,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-DNS-Prefetch-Control": "off",
    }


def disposition(key: str, how: Literal["inline", "attachment"]) -> str:
    """Return a `Content-Disposition` with the last segment of a key as file name."""
    # RFC 5987: all characters except letters, digits and `_.-~` are percent-encoded.
    return f"{how}; filename*=UTF-8''{quote(key.rpartition('/')[2], safe='')}"
