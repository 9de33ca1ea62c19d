"""Limits on request bodies: size, total held at one time, and speed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playhead.api.answers import RETRY_SECONDS, answer
from playhead.errors import PlayheadError, TooLarge

BODIES_AT_ONCE: Final = 64
"""The server holds at most this many bodies of the largest size in memory."""
SELECTIONS_AT_ONCE: Final = 4
SELECTION: Final = 16
"""A request for a replay may be this many times as large as other bodies, because it may list many paths."""
_SELECTING: Final = ("/api/v1/replay", "/api/v1/replay/plan")
UPLOADS_AT_ONCE: Final = 4
"""The server holds at most this many uploads of the largest size on disk."""
PATIENCE_SECONDS: Final = 30.0
"""A client may keep the server waiting for its body this long."""
BYTES_PER_SECOND: Final = 1000
"""Each time a client sends this many bytes, it regains one second of patience."""
LINGER_SECONDS: Final = 5.0
"""The rest of a body is read and dropped for this long before a refusal is sent."""
_TICK_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Pool:
    """Bodies of one kind.

    Attributes:
        setting: the environment variable that sets `limit`.
        limit: bytes of one body.
        total: bytes of all bodies that are held at one time.
        hint: advice for a client whose body is too large.
        held: bytes that are held now.
    """

    setting: str
    limit: int
    total: int
    hint: str = ""
    held: int = 0

    def too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self.limit} bytes ({self.setting}){self.hint}")

    def busy(self) -> PlayheadError:
        return PlayheadError(
            "server_busy",
            f"the request bodies in progress hold {self.held} of at most {self.total} bytes; "
            f"try again in {RETRY_SECONDS} seconds",
        )


class BodyLimit:
    """Refuses bodies that are too large or too slow, or for which the server has no room.

    A response that starts before its request's body was read would be lost: closing a connection with unread
    bytes resets it. The rest of the body is therefore read and dropped first, for a while.

    Args:
        app: the wrapped app.
        body: bytes allowed for a body, which is held in memory.
        upload: bytes allowed for a multipart run, which is held on disk.
        patience: seconds that a client may keep the server waiting; see `PATIENCE_SECONDS`.
        linger: see `LINGER_SECONDS`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        body: int,
        upload: int,
        patience: float = PATIENCE_SECONDS,
        linger: float = LINGER_SECONDS,
    ) -> None:
        self._app = app
        self._bodies = _Pool("PLAYHEAD_MAX_BODY_BYTES", body, body * BODIES_AT_ONCE)
        self._selections = _Pool(
            f"{SELECTION} × PLAYHEAD_MAX_BODY_BYTES", body * SELECTION, body * SELECTION * SELECTIONS_AT_ONCE
        )
        self._uploads = _Pool(
            *("PLAYHEAD_MAX_UPLOAD_BYTES", upload, upload * UPLOADS_AT_ONCE),
            hint="; split it into several runs with the same tag",
        )
        self._patience = patience
        self._linger = linger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        is_selection = scope["path"] in _SELECTING
        pool = self._uploads if _is_upload(scope) else self._selections if is_selection else self._bodies
        body = _Body(pool, receive, patience=self._patience)

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.is_over:
                # A client that waits for "100 Continue" sends its body only when the server reads.
                if body.began or "expect" not in Headers(scope=scope):
                    await body.drop(0.0 if body.is_slow else self._linger)
                if not body.is_over:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            if error := _refusal(scope, pool):
                await answer(scope, error)(scope, receive, send_after_body)
            else:
                await self._app(scope, body.receive, send_after_body)
        finally:
            body.release()


class _Body:
    """A body that is being received.

    Attributes:
        began: the app has asked for the body.
        is_over: there is nothing left to read.
        is_slow: the client lost the server's patience.
    """

    def __init__(self, pool: _Pool, receive: Receive, *, patience: float) -> None:
        self._pool = pool
        self._receive = receive
        self._most_patience = patience
        self._patience = patience
        self._held = 0
        self.began = self.is_over = self.is_slow = False

    async def receive(self) -> Message:
        """Receive the next piece.

        Raises:
            TooLarge: the body is over the limit of its kind.
            PlayheadError: `server_busy`, `body_too_slow`.
        """
        if self.is_over:
            return await self._receive()
        self.began = True
        message = await self._next()
        size = len(message.get("body", b""))
        self._held += size
        self._pool.held += size
        if self._held > self._pool.limit:
            raise self._pool.too_large()
        if self._pool.held > self._pool.total:
            raise self._pool.busy()
        self._patience = min(self._patience + size / BYTES_PER_SECOND, self._most_patience)
        return message

    async def drop(self, seconds: float) -> None:
        """Read the rest of the body and drop it, for at most this many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while not self.is_over:
                    self._is_last(await self._receive())
        except TimeoutError:
            return

    def release(self) -> None:
        self._pool.held -= self._held

    async def _next(self) -> Message:
        loop = asyncio.get_running_loop()
        receiving = asyncio.ensure_future(self._receive())
        try:
            done = False
            while not done:
                began = loop.time()
                done = bool((await asyncio.wait({receiving}, timeout=_TICK_SECONDS))[0])
                # A longer wait means that this process was suspended, not that the client was slow.
                self._patience -= min(loop.time() - began, _TICK_SECONDS)
                if self._patience < 0:
                    self.is_slow = True
                    raise PlayheadError(
                        "body_too_slow",
                        f"the body arrived at less than {BYTES_PER_SECOND} bytes a second: send it again",
                    )
            return self._is_last(receiving.result())
        finally:
            receiving.cancel()

    def _is_last(self, message: Message) -> Message:
        self.is_over = message["type"] != "http.request" or not message.get("more_body", False)
        return message


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _is_upload(scope: Scope) -> bool:
    kind = Headers(scope=scope).get("content-type", "").lower()
    return scope["path"].endswith("/run") and kind.startswith("multipart/form-data")


def _refusal(scope: Scope, pool: _Pool) -> PlayheadError | None:
    """The fault of a body that shows before any of it is read."""
    headers = Headers(scope=scope)
    length = headers.get("content-length")
    if length is not None and length.isdecimal() and int(length) > pool.limit:
        return pool.too_large()
    return pool.busy() if pool.held >= pool.total else None
