"""The store on object storage: S3 and compatible services, Google Cloud Storage, Azure Blob Storage.

The key of an object is its name below the prefix of the URL. Objects that other programs wrote are included.
The store corrects the library (obstore) in four ways:

- The library drops a `/` at the end of a key, so it lists a folder marker (`stage/`, which consoles create)
  as `stage`. Only an empty object can be a marker. If the order of the listing does not decide, a HEAD
  request does. The store lists the marker under its real key.
- The library lists the keys below a prefix, but not an object whose key equals the prefix. A second request
  finds this object.
- The library treats `/a/b` as `a/b`. The store refuses keys that the library would change.
- A missing bucket answers 404, as a missing object does. The store distinguishes the two.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from playhead.backends.store_object import address as addresses, diagnosis
from playhead.backends.store_object.failures import Failure, attempt, code_of, missing, translate
from playhead.backends.store_object.listing import side_by_side
from playhead.backends.store_object.parallel import each
from playhead.errors import MessageError, NotFound, Unavailable
from playhead.ids import uuid7
from playhead.keys import is_sidecar
from playhead.ports.diagnosis import Finding
from playhead.ports.store import Blob, Entry, ReadResult, WriteResult, any_of

if TYPE_CHECKING:
    from obstore import ObjectMeta

PROBES: Final = "_doctor"
"""The prefix of the objects that `check` and `doctor` write, and remove."""

_SERVER_PAGE: Final = 1000
"""Keys that S3 and compatible services return at once."""
_PART_BYTES: Final = 16 << 20
"""Larger objects are uploaded in parts of this size, and appear when all parts are stored."""
_PARTS_AT_ONCE: Final = 4
_PIECE: Final = 262_144
_PROBE: Final = bytes(4_096)
"""The content that `check` writes. A bucket may accept an empty object although its quota is used up."""
_MOST_SIDECAR_BYTES: Final = 1 << 20
"""Enough for all attributes that an output may have, however small the limit for objects is."""
_CONNECT: Final = "5s"
_LINGER_SECONDS: Final = 0.05

# Aliases, because `list` is a method of the store.
Entries = list[Entry]
Findings = list[Finding]


class ObjectStore:
    """A store in a bucket, which any number of processes on any number of machines may share.

    A request times out after `request_seconds`. When the server answers 5xx or the connection breaks, it is
    sent again up to four times, for at most `retry_seconds`. So a call ends within the sum of the two. Then
    it raises `Unavailable`, and the next call starts again: there is no lasting connection.

    In addition to the port, `write` refuses an invalid key (`invalid_key`) and a blob that is too large
    (`object_too_large`). `read` returns the first `max_object_bytes + 1` bytes of a larger object
    that another program wrote. `list` raises `BadRequest` (`invalid_path`) if the bucket contains a key with
    an empty segment, `.`, `..` or a control character, because the library returns nothing of its page.
    """

    ordered: bool = True

    def __init__(
        self,
        url: str,
        *,
        max_object_bytes: int,
        request_seconds: float = 30.0,
        retry_seconds: float = 20.0,
    ) -> None:
        """Parse the URL. No request is sent before `open`.

        Args:
            url: `s3://bucket/prefix?endpoint=…&region=…`, `gs://bucket/prefix`, `az://container/prefix`.
            max_object_bytes: of one object, in `read` and `write`. Sidecars may always have 1 MiB.
            request_seconds: time limit of one request.
            retry_seconds: time limit of its retries.

        Raises:
            CannotStart: `setup_invalid`: the URL or the environment is invalid.
        """
        self._at = addresses.parse(url)
        self.name = self._at.kind
        self._limit = max_object_bytes
        self._client = addresses.connect(
            self._at,
            {"connect_timeout": _CONNECT, "timeout": f"{request_seconds}s"},
            retry_seconds=retry_seconds,
        )
        # The reader of a stream may take any time; only the server may not.
        self._patient = addresses.connect(
            self._at,
            {"connect_timeout": _CONNECT, "read_timeout": f"{request_seconds}s", "timeout": "24h"},
            retry_seconds=retry_seconds,
        )
        self._closed = False

    async def open(self) -> None:
        """Check that the bucket exists and can be listed. Raises `Unavailable`."""
        # The threads of the library release a response shortly after they return it. If Python exits before
        # that, the process ends with SIGABRT.
        atexit.register(time.sleep, _LINGER_SECONDS)
        await self._reach()

    # -- the port ----------------------------------------------------------------------------------

    async def read(self, keys: Sequence[str]) -> ReadResult:
        return any_of(await each(keys, self._read))

    async def write(
        self, groups: Sequence[Sequence[Blob]], *, written: Callable[[str], None] | None = None
    ) -> WriteResult:
        async def one(group: Sequence[Blob]) -> MessageError | None:
            try:
                for blob in group:
                    # One after another, so that no object exists before its sidecar.
                    await self._put(blob)
                    if written:
                        written(blob.key)
            except MessageError as exc:
                return exc
            return None

        return any_of(await each(groups, one))

    async def delete(self, keys: Sequence[str]) -> None:
        wanted = [key for key in keys if addresses.storable(key)]
        if not wanted:
            return
        try:
            await self._client.delete_async(wanted)  # S3: up to 1,000 keys in one request
        except Failure:
            # Some services answer 404 for a key without an object, or have no such request.
            for outcome in await each(wanted, self._delete):
                if isinstance(outcome, Unavailable):
                    raise outcome from None

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        if prefix and not addresses.storable(prefix):
            return
        # Some Azure services cannot start a listing at a key. There each part would read all keys before it.
        found = side_by_side(
            lambda after: self._pages(prefix, after, sizes),
            after,
            server_page=None if self._at.kind == "azure" else _SERVER_PAGE,
        )
        held: list[Entry] = []
        async with aclosing(found):
            # Both are requested at once. The page is awaited first, because a refused HEAD has no text.
            head = asyncio.ensure_future(self._stat(prefix)) if prefix and after < prefix else None
            try:
                entries = await anext(found, None)
                if head and (itself := await head):
                    held.append(itself if sizes else Entry(prefix, 0, 0.0))
            finally:
                if head:
                    head.cancel()
            while entries is not None:
                held.extend(entries)
                while len(held) >= page:
                    yield held[:page]
                    del held[:page]
                entries = await anext(found, None)
        if held:
            yield held

    async def stat(self, key: str) -> Entry | None:
        if not addresses.storable(key):
            return None
        found = await self._stat(key)
        if found is None:
            # The answer to HEAD has no body, so the bucket itself may be missing.
            await self._reach()
        return found

    async def stream(self, key: str, *, limit: int | None = None) -> AsyncGenerator[bytes, None]:
        if not addresses.storable(key):
            raise _not_found(key)
        try:
            found = await self._patient.get_async(key)
            left = sys.maxsize if limit is None else limit
            # One answer to one request, so later writes do not change it. If it breaks off, the library
            # continues with the same version or fails. With a limit, the rest stays unread, and the library
            # closes the connection. It refuses the answers of some servers to requests for a range.
            async for piece in found.stream(min(_PIECE, left)):
                if data := bytes(piece)[:left]:
                    left -= len(data)
                    yield data
                if not left:
                    break
        except Failure as exc:
            if missing(exc):
                raise _not_found(key) from exc
            raise translate(exc, "read", self._at, key) from exc

    async def check(self) -> str:
        key = f"{PROBES}/check"
        await attempt("write", self._at, self._client.put_async(key, _PROBE))
        # Work needs no permission to delete. Without it, this one object remains.
        with suppress(*Failure):
            await self._client.delete_async(key)
        return str(self._at)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            # Answers to cancelled requests must not arrive after the event loop was closed.
            await asyncio.sleep(_LINGER_SECONDS)

    async def diagnose(self) -> Findings:
        return await diagnosis.diagnose(self._client, self._at, f"{PROBES}/{uuid7()}")

    # -- requests ----------------------------------------------------------------------------------

    async def _reach(self) -> None:
        await attempt("list", self._at, anext(aiter(self._client.list(PROBES, chunk_size=1)), None))

    async def _read(self, key: str) -> bytes | None:
        if not addresses.storable(key):
            return None
        try:
            found = await self._client.get_async(key)
            most = self._most(key)
            if found.meta["size"] <= most:
                return (await found.bytes_async()).to_bytes()
            data = bytearray()
            async for piece in found.stream(_PIECE):
                data += piece
                if len(data) > most:
                    break
            return bytes(data[: most + 1])
        except Failure as exc:
            if missing(exc):
                return None
            raise translate(exc, "read", self._at, key) from exc

    async def _put(self, blob: Blob) -> None:
        key, data, content_type = blob
        if not addresses.storable(key):
            raise _invalid(key, "it has an empty segment, `.`, `..` or a control character")
        if len(data) > (most := self._most(key)):
            raise MessageError(
                "object_too_large", f"{key!r} has {len(data)} bytes; at most {most} are stored"
            )
        try:
            await self._client.put_async(
                key,
                data,
                attributes={"Content-Type": content_type},
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )
        except Failure as exc:
            if code_of(exc) == "KeyTooLongError":
                raise _invalid(key, "it is too long, together with the prefix") from exc
            raise translate(exc, "write", self._at, key) from exc

    async def _delete(self, key: str) -> None:
        try:
            await self._client.delete_async(key)
        except Failure as exc:
            if not missing(exc):
                raise translate(exc, "delete", self._at, key) from exc

    async def _stat(self, key: str) -> Entry | None:
        try:
            return _entry(await self._client.head_async(key), key)
        except Failure as exc:
            if missing(exc):
                return None
            raise translate(exc, "read", self._at, key) from exc

    async def _pages(self, prefix: str, after: str, sizes: bool) -> AsyncGenerator[Sequence[Entry], None]:
        """Yield the entries below `prefix/` and after a key, one page of the server at a time."""
        base = prefix + "/" if prefix else ""
        if after > base and not after.startswith(base):
            return
        start = _from(after)
        last = max(start or "", base)
        stream = aiter(self._client.list(prefix or None, offset=start, chunk_size=_SERVER_PAGE))
        while (metas := await attempt("list", self._at, anext(stream, None))) is not None:
            if sizes or not all(meta["size"] for meta in metas):
                entries = await self._named(metas, last)
                if not sizes:
                    entries = [Entry(entry.key, 0, 0.0) for entry in entries]
            else:
                entries = [Entry(meta["path"], 0, 0.0) for meta in metas]
            if entries and entries[0].key <= after:
                # The library cannot start at every key, and then starts before it.
                entries = [entry for entry in entries if entry.key > after]
            if entries:
                last = entries[-1].key
                yield entries

    async def _named(self, metas: Sequence[ObjectMeta], last: str) -> Entries:
        """Return a page with the keys of the bucket: folder markers with their slash.

        Args:
            last: the key before the page.
        """
        entries = [_entry(meta, meta["path"]) for meta in metas]
        doubtful: list[int] = []
        for at, (key, size, modified, tag) in enumerate(entries):
            if not size:
                following = entries[at + 1].key if at + 1 < len(entries) else ""
                if key <= last:
                    # It is listed after `last`, so its real key ends with a slash.
                    entries[at] = Entry(key + "/", 0, modified, tag)
                elif not (following.startswith(key) and following[len(key) :] < "/"):
                    # With a slash it would be after `key-1` or `key.meta.json`. Neither follows, so it may be
                    # either.
                    doubtful.append(at)
            last = entries[at].key
        there = await each([entries[at].key for at in doubtful], self._stat)
        for at, itself in zip(doubtful, there, strict=True):
            if isinstance(itself, Unavailable):
                raise itself
            if itself is None:
                entries[at] = entries[at]._replace(key=entries[at].key + "/")
        return entries

    def _most(self, key: str) -> int:
        return max(self._limit, _MOST_SIDECAR_BYTES) if is_sidecar(key) else self._limit


def _from(after: str) -> str | None:
    """Return the greatest string up to `after` at which the library can start a listing."""
    kept: list[str] = []
    for segment in after.split("/"):
        if not addresses.storable(segment):
            break
        kept.append(segment)
    return "/".join(kept) or None


def _entry(meta: ObjectMeta, key: str) -> Entry:
    # HTTP has whole seconds, some listings have fractions. The times of one object must be equal.
    # An ETag is a hash of the bytes, or the number of the write.
    tag = (meta["e_tag"] or meta["last_modified"].isoformat()).strip('"')
    return Entry(key, meta["size"], float(int(meta["last_modified"].timestamp())), tag)


def _not_found(key: str) -> NotFound:
    return NotFound("object_not_found", f"there is no object {key!r}")


def _invalid(key: str, why: str) -> MessageError:
    return MessageError("invalid_key", f"a bucket cannot hold {key!r}: {why}")
