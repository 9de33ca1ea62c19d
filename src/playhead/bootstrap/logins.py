"""Open the provider at which people log in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from playhead.bootstrap.backends import extra
from playhead.errors import CannotStart
from playhead.ports.login import LoginProvider

if TYPE_CHECKING:
    from playhead.settings import Settings


def open_logins(
    settings: Settings, stack: AsyncExitStack, hide: Callable[[str], None]
) -> LoginProvider | None:
    """Return the provider at which people log in; None if none is configured.

    Args:
        hide: masks the client secret in logs.

    Raises `CannotStart` (`setup_invalid`): its library is missing, or its client secret cannot be read.
    """
    if settings.oidc_issuer is None:
        return None
    with extra("oidc", settings.oidc_issuer):
        from playhead.backends.login_oidc import OidcProvider

    secret, file = settings.oidc_client_secret, settings.oidc_client_secret_file
    if secret is not None and file is not None:
        what = "set either PLAYHEAD_OIDC_CLIENT_SECRET or PLAYHEAD_OIDC_CLIENT_SECRET_FILE, not both"
        raise CannotStart("setup_invalid", what)
    if file is not None:
        try:
            secret = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise CannotStart(
                "setup_invalid", f"cannot read PLAYHEAD_OIDC_CLIENT_SECRET_FILE: {exc}"
            ) from exc
    if secret:
        hide(secret)
    provider = OidcProvider(
        settings.oidc_issuer,
        client_id=settings.oidc_client_id or "",
        secret=secret,
        callback=f"{settings.public_url}/login/oidc/callback",
        claim=settings.oidc_claim,
    )
    stack.push_async_callback(provider.close)
    return provider
