"""The multipart form of a run, of the API and of a page, kept in one temporary file until it has arrived."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import IO, Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import Request

from playhead import keys
from playhead.errors import BadRequest, PlayheadError, StoreFull, TooLarge, store_unavailable
from playhead.services.submit import MAX_UPLOAD_FILES

MULTIPART: Final = "multipart/form-data"
_PARAMETER: Final = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_MAX_HEADER_BYTES: Final = 8192
"""Of all headers of one part."""
_MAX_FIELD_BYTES: Final = 1 << 18
"""Of all fields together: names and values, and a fixed charge for each."""
_FIELD_CHARGE: Final = 64
_WRITE_BYTES: Final = 1 << 18
_READ_AT_ONCE_BYTES: Final = 1 << 18
"""A file up to this size is read from the page cache without the detour of a thread."""


@dataclass(slots=True)
class _File:
    """An uploaded file: its path, and its place in the temporary file."""

    path: str
    start: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Upload:
    """A form that was read to its end.

    Attributes:
        fields: the values of each field that is not a file, by name.
    """

    fields: dict[str, list[str]]
    _files: list[_File]
    _spool: IO[bytes]

    async def contents(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield the path and the bytes of each file, in the order of the form."""
        for file in self._files:
            if file.size <= _READ_AT_ONCE_BYTES:
                yield file.path, self._read(file)
            else:
                yield file.path, await asyncio.to_thread(self._read, file)

    def _read(self, file: _File) -> bytes:
        self._spool.seek(file.start)
        return self._spool.read(file.size)


class WrongPart(BadRequest):
    """A file in a part that takes none.

    Attributes:
        part: name of the part.
        file: name of the file.
    """

    why: Final = "Only the part `files` may be a file"

    def __init__(self, part: str, file: str) -> None:
        super().__init__("invalid_body", f"{part}: {self.why}")
        self.part = part
        self.file = file


@contextlib.asynccontextmanager
async def read_upload(
    request: Request,
    *,
    max_object_bytes: int,
    fields: dict[str, list[str]] | None = None,
    is_page: bool = False,
) -> AsyncIterator[Upload]:
    """Read the form of a request; the files exist until the context ends.

    Args:
        fields: gets the fields as they arrive, so a caller has them if a file that follows is refused.
        is_page: whether a browser sends the form of a page. It sends a part without a file name for each
            empty choice of files. The paths of the part `folder` begin with the chosen folder, which is left
            out, as `playhead run` does.

    Raises:
        BadRequest: `invalid_path`, `invalid_body`; a `WrongPart` if a file has another name than `files`.
        TooLarge: a file is larger than `max_object_bytes`, or there are too many.
        Unavailable: the temporary folder is full or cannot be written.
    """
    parts = _Parts(max_object_bytes, {} if fields is None else fields, is_page=is_page)
    parser = MultipartParser(_boundary(request), parts.callbacks())
    with contextlib.ExitStack() as stack:
        try:
            spool = stack.enter_context(await asyncio.to_thread(_open_spool))
            async for chunk in request.stream():
                parser.write(chunk)
                if len(parts.unwritten) >= _WRITE_BYTES:
                    await asyncio.to_thread(_write, spool, parts)
            await asyncio.to_thread(_write, spool, parts)
        except FormParserError as exc:
            raise BadRequest("invalid_body", f"the multipart form cannot be read: {exc}") from exc
        except OSError as exc:
            raise _no_spool(exc) from exc
        if not parts.is_complete:
            raise BadRequest("invalid_body", "the multipart form ends before its last boundary")
        yield Upload(parts.fields, parts.files, spool)


def _open_spool() -> IO[bytes]:
    # Unbuffered: closing a buffered file on a full disk would raise again.
    return tempfile.TemporaryFile(buffering=0)


def _write(spool: IO[bytes], parts: _Parts) -> None:
    with memoryview(parts.unwritten) as view:
        done = 0
        while done < len(view):
            done += spool.write(view[done:])
    parts.unwritten.clear()


def _no_spool(exc: OSError) -> PlayheadError:
    place = tempfile.gettempdir()
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"{place} has no room for the upload: free some space there, or set TMPDIR")
    return store_unavailable(f"cannot keep the upload in {place}: {exc.strerror}; set TMPDIR")


def _boundary(request: Request) -> bytes:
    parameters = _parameters(request.headers.get("content-type", ""))
    charset = parameters.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise BadRequest("invalid_body", f"the form has the charset {charset!r}: send UTF-8")
    if not (boundary := parameters.get("boundary")):
        raise BadRequest("invalid_body", f"the Content-Type {MULTIPART} has no boundary")
    return boundary.encode("latin-1")


def _parameters(header: str) -> dict[str, str]:
    """The parameters of a header such as Content-Disposition, by lower-case name.

    `python_multipart` has a function for this, but it shortens the file name `C:\\x` to `x`.
    """
    return {
        name.lower(): quoted.replace("\\\\", "\\").replace('\\"', '"') or bare
        for name, quoted, bare in _PARAMETER.findall(header)
    }


@dataclass(slots=True)
class _Parts:
    """Takes a form apart as the parser reads it.

    Attributes:
        max_object_bytes: limit of one file.
        fields: see `Upload`.
        files: those whose path is checked.
        unwritten: bytes of files that are not in the temporary file yet.
        is_complete: the last boundary was read.
        is_page: see `read_upload`.
    """

    max_object_bytes: int
    fields: dict[str, list[str]] = field(default_factory=dict)
    files: list[_File] = field(default_factory=list)
    unwritten: bytearray = field(default_factory=bytearray)
    is_complete: bool = False
    is_page: bool = False
    _paths: set[str] = field(default_factory=set)
    _end: int = 0
    _charged: int = 0
    _name: str = ""
    _value: bytearray | None = None
    """Of the field that is being read; None in a file."""
    _headers: int = 0
    _header: bytearray = field(default_factory=bytearray)
    _header_value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""

    def callbacks(self) -> Any:
        def span(take: Callable[[bytes], None]) -> Callable[[bytes, int, int], None]:
            return lambda data, start, end: take(data[start:end])

        return {
            "on_part_begin": self._begin,
            "on_header_field": span(self._take_header),
            "on_header_value": span(self._take_header_value),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": span(self._take_data),
            "on_part_end": self._end_part,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers, self._disposition, self._value = 0, b"", bytearray()

    def _take_header(self, data: bytes) -> None:
        self._count_header(data)
        self._header += data

    def _take_header_value(self, data: bytes) -> None:
        self._count_header(data)
        self._header_value += data

    def _count_header(self, data: bytes) -> None:
        self._headers += len(data)
        if self._headers > _MAX_HEADER_BYTES:
            raise BadRequest("invalid_body", f"the headers of a part exceed {_MAX_HEADER_BYTES} bytes")

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        parameters = _parameters(self._disposition.decode("latin-1"))
        if "name" not in parameters:
            raise BadRequest("invalid_body", "a part of the form has no Content-Disposition with a name")
        self._name = _utf8(parameters["name"].encode("latin-1"), "invalid_body", "the name of a part")
        if "filename" in parameters:
            name = _utf8(parameters["filename"].encode("latin-1"), "invalid_path", "the file name")
            if self.is_page and not name:
                return  # its content, which is empty, becomes a field
            if self.is_page and self._name == "folder":
                name = name.partition("/")[2] or name
            elif self._name != "files":
                raise WrongPart(self._name, name)
            self._add_file(keys.check_path(name, "file name"))
            self._value = None

    def _take_data(self, data: bytes) -> None:
        if self._value is not None:
            self._charge(len(data))
            self._value += data
        else:
            file = self.files[-1]
            file.size += len(data)
            self._end += len(data)
            if file.size > self.max_object_bytes:
                raise TooLarge(
                    f"input {file.path!r} is larger than {self.max_object_bytes} bytes "
                    "(PLAYHEAD_MAX_OBJECT_BYTES)"
                )
            self.unwritten += data

    def _end_part(self) -> None:
        if self._value is not None:
            value = _utf8(bytes(self._value), "invalid_body", f"the field {self._name!r}")
            self._charge(len(self._name) + _FIELD_CHARGE)
            self.fields.setdefault(self._name, []).append(value)

    def _finish(self) -> None:
        self.is_complete = True

    def _add_file(self, path: str) -> None:
        if path in self._paths:
            raise BadRequest("invalid_path", f"two files have the name {path!r}: rename one of them")
        if len(self.files) == MAX_UPLOAD_FILES:
            raise TooLarge(
                f"a run takes at most {MAX_UPLOAD_FILES} files; split it into several runs with the same tag"
            )
        self._paths.add(path)
        self.files.append(_File(path, self._end))

    def _charge(self, count: int) -> None:
        self._charged += count
        if self._charged > _MAX_FIELD_BYTES:
            raise TooLarge(f"the fields of the form are larger than {_MAX_FIELD_BYTES} bytes")


def _utf8(raw: bytes, code: str, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise BadRequest(code, f"{what} {raw!r} is not UTF-8: encode it as UTF-8") from exc
