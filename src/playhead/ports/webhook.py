"""Webhooks: HTTP requests to receivers that the operator allows."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from playhead.errors import BadRequest


class NotDelivered(Exception):
    """There is no response: the URL or an address of its host is not allowed, or the connection failed."""


def check_webhook(webhooks: Webhooks | None, url: str) -> None:
    """Check the URL of a webhook, also if the deployment sends none.

    Raises `BadRequest` (`webhook_not_allowed`).
    """
    if webhooks is None:
        raise BadRequest(
            "webhook_not_allowed",
            "this deployment sends no webhooks. The operator allows hosts with PLAYHEAD_WEBHOOK_HOSTS",
        )
    webhooks.check(url)


class Webhooks(Protocol):
    def check(self, url: str) -> None:
        """Check a URL that a client gives, without resolving its host.

        Raises `BadRequest` (`webhook_not_allowed`).
        """
        ...

    async def send(self, url: str, delivery: UUID, body: str) -> int:
        """Send a signed request once, and return the status of the response.

        The URL is checked again, and so is every address of its host. No redirect is followed. Blocks for ten
        seconds at most.

        Raises `NotDelivered` if there is no response.
        """
        ...
