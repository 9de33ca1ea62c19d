"""Logins at a provider of identities: begin and finish them.

What the answer of the provider is compared with is in the catalog, under the hash of a cookie. So any server
can finish a login, once and within ten minutes, and only in the browser that has begun it.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from playhead import events
from playhead.acting import NOBODY
from playhead.addresses import own_path
from playhead.credentials import hash_of, new_token
from playhead.errors import NotFound, PlayheadError, Unauthorized
from playhead.model.access import Caller
from playhead.model.rights import GroupRights, rights_of
from playhead.ports.catalog import Access
from playhead.ports.catalog.access import LoginRecord
from playhead.ports.login import LoginProvider, LoginRefused

_SHOWN_GROUPS: Final = 10
_PER_SECOND: Final = 10
"""Logins that may begin at one server. Each one is a row, and anyone can begin it."""


class BegunLogin(NamedTuple):
    """A login that has begun.

    Attributes:
        url: URL of the provider, to which the browser is sent.
        cookie: value of the cookie with which the browser comes back.
    """

    url: str
    cookie: str


class RefusedLogin(Unauthorized):
    """A login that was refused (`login_refused`).

    Attributes:
        caller: the person, without rights; if the provider has named none, the caller of public pages.
        to: path of this server that would have been shown next.
    """

    def __init__(self, why: str, caller: Caller = NOBODY.caller, to: str = "/") -> None:
        super().__init__("login_refused", f"the login was refused: {why}")
        self.caller = caller
        self.to = to


class LoginService:
    """Logs people in at a provider.

    Args:
        provider: None: no provider is configured.
        rights: what the members of its groups may do.
        clock: seconds of a clock that does not go back.
    """

    def __init__(
        self,
        catalog: Access,
        provider: LoginProvider | None,
        rights: Sequence[GroupRights],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._provider = provider
        self._rights = rights
        self._clock = clock
        self._begun: deque[float] = deque(maxlen=_PER_SECOND)

    @property
    def is_offered(self) -> bool:
        """Whether a provider is configured."""
        return self._provider is not None

    async def begin(self, to: str) -> BegunLogin:
        """Begin a login.

        Args:
            to: path of this server that is shown after the login.

        Raises:
            NotFound: no provider is configured.
            PlayheadError: `too_many_attempts`.
            Unavailable: `login_unavailable`.
        """
        now = self._clock()
        if len(self._begun) == _PER_SECOND and now - self._begun[0] < 1:
            raise PlayheadError("too_many_attempts", "too many logins begin at once; try again in a second")
        self._begun.append(now)
        login = LoginRecord(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            next=own_path(to),
        )
        url = await self._configured().address(login)
        cookie = new_token()
        await self._catalog.begin_login(hash_of(cookie), login)
        return BegunLogin(url, cookie)

    async def finish(self, cookie: str | None, answer: Mapping[str, str]) -> tuple[Caller, str]:
        """Return who has logged in, and the path that is shown next.

        Args:
            cookie: of the browser.
            answer: the parameters with which the provider has sent the browser back.

        Raises:
            NotFound: no provider is configured.
            RefusedLogin: the answer proves nothing, or the person has no rights here.
            Unavailable: `login_unavailable`.
        """
        provider = self._configured()
        login = await self._catalog.finish_login(hash_of(cookie)) if cookie else None
        if login is None:
            raise RefusedLogin("no login has begun in this browser, or it took more than ten minutes")
        try:
            person = await provider.finish(login, answer)
        except LoginRefused as exc:
            events.emit(events.LOGIN_REFUSED, detail=str(exc))
            raise RefusedLogin(str(exc), to=login.next) from exc
        rights = rights_of(person.groups, self._rights)
        if rights is None:
            named = ", ".join(sorted(person.groups)[:_SHOWN_GROUPS]) or "no group"
            why = (
                f"no group of {person.name} has rights here; the provider names {named}. "
                "The operator sets the rights of groups with PLAYHEAD_OIDC_MAP"
            )
            events.emit(events.LOGIN_REFUSED, detail=why)
            raise RefusedLogin(why, Caller("oidc", person.id, person.name, frozenset()), login.next)
        return Caller("oidc", person.id, person.name, rights.scopes, rights.configs), login.next

    def _configured(self) -> LoginProvider:
        if self._provider is None:
            raise NotFound("not_found", "this server has no login at a provider (PLAYHEAD_OIDC_ISSUER)")
        return self._provider
