"""Replacing lost connections, for the brokers on NATS and RabbitMQ."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from playhead import events
from playhead.errors import Unavailable

_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 3.0
_CANCEL_AGAIN_SECONDS: Final = 0.1

T = TypeVar("T")


async def reconnect(
    connect: Callable[[], Awaitable[T]], lost_because: str, failed: Callable[[str], None], **names: Any
) -> T:
    """Log that a connection was lost, and try until there is a new one.

    Args:
        failed: called with the reason of each failed attempt.
        names: fields of the log lines, which name the connection.
    """
    events.emit(events.BACKEND_UNAVAILABLE, **names, detail=lost_because)
    delay = _FIRST_DELAY_SECONDS
    while True:
        # Random, because all processes of the deployment reconnect when a server is available again.
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))
        delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
        try:
            connection = await connect()
            break
        except Unavailable as exc:
            failed(exc.detail)
        except Exception as exc:
            # Retried, because no other task would replace the connection.
            failed(f"{type(exc).__name__}: {exc}")
            events.emit(events.LOOP_FAILED, exc_info=True, detail=f"reconnecting {names}")
    events.emit(events.BACKEND_BACK, **names)
    return connection


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it ends: a client library drops a cancellation that arrives with an answer."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_SECONDS)
