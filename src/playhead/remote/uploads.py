"""Stream the inputs of a run as a multipart body (RFC 7578), with one file in memory at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

from playhead.ids import uuid7

_PIECE_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart body.

    Attributes:
        fields: (name, value) of the form fields, which precede the files.
        files: (path in the stage `input`, content).
        boundary: separates the parts.
    """

    fields: Iterable[tuple[str, str]]
    files: AsyncIterable[tuple[str, bytes]]
    # The boundary must not occur in a file. It has 74 random bits, so a match is practically impossible.
    boundary: str = field(default_factory=lambda: f"playhead-{uuid7().hex}")

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.boundary}"

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body in chunks."""
        for name, value in self.fields:
            yield self._head(f'name="{name}"') + value.encode() + b"\r\n"
        async for path, data in self.files:
            # Only quotes need escaping: the server rejects paths with backslashes or control characters.
            quoted = path.replace('"', '\\"')
            yield self._head(f'name="files"; filename="{quoted}"')
            view = memoryview(data)
            for at in range(0, len(view), _PIECE_BYTES):
                yield bytes(view[at : at + _PIECE_BYTES])
            yield b"\r\n"
        yield f"--{self.boundary}--\r\n".encode()

    def _head(self, disposition: str) -> bytes:
        return f"--{self.boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
