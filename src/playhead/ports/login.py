"""Logins of people at a provider of identities, such as Keycloak, Entra ID or Okta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from playhead.ports.catalog.access import LoginRecord


class LoginRefused(Exception):
    """The provider has refused a login, or its answer is not valid. The message continues a sentence."""


class Person(NamedTuple):
    """Who has logged in.

    Attributes:
        id: issuer and subject. No other person gets it.
        name: verified mail address, or the subject.
        groups: groups that the provider names.
    """

    id: str
    name: str
    groups: frozenset[str]


class LoginProvider(Protocol):
    async def address(self, login: LoginRecord) -> str:
        """Return the URL at which a login begins. The browser is sent there.

        Raises:
            Unavailable: `login_unavailable`; the provider does not answer, or its answer is not valid.
        """
        ...

    async def finish(self, login: LoginRecord, answer: Mapping[str, str]) -> Person:
        """Return who has logged in. Blocks for some requests to the provider, each for 5 s at most.

        Args:
            login: the login that has begun in this browser. It is used once.
            answer: the parameters with which the provider has sent the browser back.

        Raises:
            LoginRefused: the answer does not belong to the login, or proves nothing.
            Unavailable: `login_unavailable`.
        """
        ...
