"""The inputs of a run as a multipart body (RFC 7578), made while it is sent: one file is held at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

from playhead.ids import uuid7

_PIECE_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Upload:
    """A body to send; `content_type` names the boundary of its parts.

    Attributes:
        fields: names and values that go before the files.
        files: (path under `input`, bytes).
    """

    fields: Iterable[tuple[str, str]]
    files: AsyncIterable[tuple[str, bytes]]
    # It must not occur in a file: 74 random bits, which no file was made to hold.
    boundary: str = field(default_factory=lambda: f"playhead-{uuid7().hex}")

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.boundary}"

    async def body(self) -> AsyncIterator[bytes]:
        """The bytes of the body, in pieces."""
        for name, value in self.fields:
            yield self._head(f'name="{name}"') + value.encode() + b"\r\n"
        async for path, data in self.files:
            # A backslash is no part of a path, and control characters aren't either.
            quoted = path.replace('"', '\\"')
            yield self._head(f'name="files"; filename="{quoted}"')
            view = memoryview(data)
            for at in range(0, len(view), _PIECE_BYTES):
                yield bytes(view[at : at + _PIECE_BYTES])
            yield b"\r\n"
        yield f"--{self.boundary}--\r\n".encode()

    def _head(self, disposition: str) -> bytes:
        return f"--{self.boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
