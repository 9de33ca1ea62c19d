"""People whom an authenticating proxy names in a header.

Any program that reaches the port of the server can send this header, so the proxy also sends a secret. A
request without the secret has no such header. A request with it must have the headers exactly once, because
a client may try to send its own through the proxy.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from playhead.errors import BadRequest, Unauthorized
from playhead.model.access import Caller
from playhead.model.rights import GroupRights, Rights, rights_of

SECRET_HEADER: Final = "X-Playhead-Proxy-Secret"
_SECRET: Final = SECRET_HEADER.lower()
_ALIKE: Final = str.maketrans("_.", "--")
"""Servers behind gateways read `X_User`, `X.User` and `X-User` as the same name."""
_NO_RIGHTS: Final = Rights(frozenset(), None)
_MAX_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class TrustedProxy:
    """What the operator has agreed with the proxy.

    Attributes:
        secret: value of `X-Playhead-Proxy-Secret`.
        user_header: name of the header with the user, in lower case.
        groups_header: name of the header with the groups, separated by commas, in lower case. None: `rights`
            names users.
        rights: what the members of groups may do.
    """

    secret: str
    user_header: str
    groups_header: str | None
    rights: Sequence[GroupRights]

    def caller_of(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller | None:
        """Return who sends a request; None: it did not come through the proxy.

        Raises:
            BadRequest: `proxy_header_invalid`; a header is not as the proxy sends it.
            Unauthorized: `key_missing`; the proxy names no user.
        """
        given = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
        if not any(name == _SECRET and self._is_secret(value) for name, value in given):
            return None
        trusted = [_SECRET, self.user_header, *([self.groups_header] if self.groups_header else [])]
        values: dict[str, str] = {}
        for name, value in given:
            like = next((one for one in trusted if name.translate(_ALIKE) == one.translate(_ALIKE)), None)
            if like is not None and (like in values or name != like):
                raise _invalid(f"the request has several headers like {like}")
            if like is not None:
                values[like] = value
            elif name == "connection":
                for one in value.lower().split(","):
                    if one.strip() in trusted:
                        raise _invalid(f"the header Connection names {one.strip()}, so a proxy may remove it")
        user = self._text(values.get(self.user_header, ""))
        if not user:
            raise Unauthorized(
                "key_missing", f"the proxy has sent its secret, but no user in {self.user_header}"
            )
        if len(user) > _MAX_NAME or not user.isprintable() or "," in user:
            raise _invalid(f"{self.user_header} is not one name of up to {_MAX_NAME} printable characters")
        if self.groups_header:
            groups = {one.strip() for one in self._text(values.get(self.groups_header, "")).split(",")}
        else:
            groups = {user}
        scopes, configs = rights_of(groups, self.rights) or _NO_RIGHTS
        return Caller("proxy", user, user, scopes, configs)

    def _is_secret(self, value: str) -> bool:
        return hmac.compare_digest(value.encode("latin-1"), self.secret.encode())

    def _text(self, value: str) -> str:
        try:
            return value.encode("latin-1").decode().strip()
        except UnicodeDecodeError:
            raise _invalid("a header of the proxy is not UTF-8") from None


def _invalid(why: str) -> BadRequest:
    return BadRequest("proxy_header_invalid", f"{why}. The proxy must replace the headers that clients send")
