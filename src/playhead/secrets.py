"""References to secrets in adapter configs, and the removal of secrets from texts.

A config holds `${env:NAME}` or `${file:/folder/name}`, alone or inside a longer text. `$${` is the text `${`.
Only the process that runs a step replaces references by values. All other code handles the references.
`bootstrap.secrets` reads the values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from string import punctuation
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus, unquote

_TOKEN: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_URL_PASSWORD: Final = re.compile(r"^[a-z][a-z0-9+.-]*://[^:@/]*:(.+)@", re.I)
"""To the last `@`, as in `settings`."""
_ENDS_LOGIN: Final = re.compile(r"[/?#@]")
"""Where a parser ends the login of a URL. Its error quotes parts of a password as host, port or path."""
_UNSAFE_IN_URLS: Final = ('"#<>', '"#<>?`{}', '"#<>?`{}/:;=@[\\]^|')
"""What HTTP clients escape in the query, the path, and the user name of a URL (WHATWG URL standard)."""
_SPACE: Final = re.compile(r"\s")
_HIDDEN: Final = re.compile(r"[\x00-\x1f\x7f]")
_FORMS: Final = "${env:NAME} or ${file:/folder/name}"
_MASK: Final = "***"
_SHORT: Final = 4
_LONG_LINE: Final = 8


class Reference(NamedTuple):
    """A reference to one secret.

    Attributes:
        kind: `env` or `file`.
        name: the name of an environment variable, or the absolute path of a file.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"${{{self.kind}:{self.name}}}"


class ReferenceInvalid(ValueError):
    """A text has a `${` that does not start a valid reference.

    Attributes:
        suggestion: a valid text; None if the intention is not clear.
    """

    def __init__(self, detail: str, suggestion: str | None = None) -> None:
        super().__init__(detail)
        self.suggestion = suggestion


class SecretUnavailable(Exception):
    """This process cannot or must not read a secret. The text names the reference and the reason."""


Resolve = Callable[[Reference], str]
"""Returns the value of a secret. Raises `SecretUnavailable`."""


def no_secrets(reference: Reference) -> str:
    """Resolve nothing: the process has no settings for secrets."""
    raise SecretUnavailable(f"{reference}: this process reads no secrets")


def parts(text: str) -> list[str | Reference]:
    """Split a text into plain texts, in which `$${` is replaced, and references.

    Raises `ReferenceInvalid`.
    """
    found: list[str | Reference] = []
    at = 0
    for token in _TOKEN.finditer(text):
        found.append(text[at : token.start()])
        found.append("${" if token[0] == "$${" else _reference(token[0], token[1]))
        at = token.end()
    found.append(text[at:])
    return [part for part in found if part]


def _reference(written: str, inside: str | None) -> Reference:
    if inside is None:
        raise ReferenceInvalid(f"`${{` without `}}`: write {_FORMS}, or $${{ for the text ${{")
    kind, colon, name = inside.partition(":")
    if kind == "env" and _VARIABLE.fullmatch(name):
        return Reference(kind, name)
    if kind == "env":
        raise ReferenceInvalid(f"{written} must name an environment variable: letters, digits and `_`")
    if kind == "file":
        segments = name.split("/")
        if segments[0] or len(segments) < 2 or {"", ".", ".."} & set(segments[1:]) or _HIDDEN.search(name):
            raise ReferenceInvalid(f"{written} must be an absolute path without empty parts, `.` and `..`")
        return Reference(kind, name)
    meant = None if colon or not _VARIABLE.fullmatch(inside) else f"${{env:{inside}}}"
    raise ReferenceInvalid(
        f"{written} is not a reference to a secret: write {_FORMS}, or ${written} for this text itself", meant
    )


def strings(value: Any) -> Iterator[str]:
    """Yield all texts inside a JSON value, except the keys of mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def has_reference(value: Any) -> bool:
    """Whether a JSON value contains a reference, valid or not."""
    return any(token[0] != "$${" for text in strings(value) for token in _TOKEN.finditer(text))


def resolved(value: Any, resolve: Resolve) -> Any:
    """Return a copy of a JSON value with the values of its references.

    Raises `ReferenceInvalid`, and what `resolve` raises.
    """
    if isinstance(value, str):
        return "".join(part if isinstance(part, str) else resolve(part) for part in parts(value))
    if isinstance(value, dict):
        return {key: resolved(item, resolve) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, resolve) for item in value]
    return value


class Mask:
    """Replaces the known secrets in texts by `***`.

    It finds a secret as it is, and escaped as in a URL, in JSON or in a `repr`. It also finds single lines of
    a secret that has several, the password of a secret that is a URL, and the parts of a password that `/`,
    `?`, `#` or `@` separates. A secret of up to three characters is found only if it is a separate word.

    Mask a text before it is shortened: a part of a secret is not found.
    """

    def __init__(self) -> None:
        self._spellings: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Replace this secret from now on."""
        new = _spellings(secret) - self._spellings
        if new:
            spellings = self._spellings | new
            # Longest first: a shorter spelling may be a part of a longer one.
            pattern = "|".join(_pattern_of(one) for one in sorted(spellings, key=len, reverse=True))
            self._spellings, self._pattern = spellings, re.compile(pattern)

    def __call__(self, text: str) -> str:
        return self._pattern.sub(_MASK, text) if self._pattern else text


def _spellings(secret: str) -> set[str]:
    lines = [line for line in secret.splitlines() if len(line) >= _LONG_LINE]
    passwords = _URL_PASSWORD.findall(secret)
    in_urls = passwords if "://" in secret or _SPACE.search(secret) else [secret]
    parts = [part for one in in_urls for part in _ENDS_LOGIN.split(one) if len(part) >= _SHORT]
    parts_of_it = (*lines, *passwords, *map(unquote, passwords), *parts)
    found = {spelling for one in (secret, *parts_of_it) for spelling in _spellings_of_one(one)}
    return found - {""}


def _spellings_of_one(text: str) -> Iterator[str]:
    yield text
    yield repr(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield quote(text)
    yield quote(text, safe="")
    yield quote_plus(text)
    for unsafe in _UNSAFE_IN_URLS:
        safe = "".join(c for c in punctuation if c not in unsafe)
        yield quote(text, safe=safe)
        yield quote(text, safe=safe.replace("%", ""))


def _pattern_of(spelling: str) -> str:
    escaped = re.escape(spelling)
    return escaped if len(spelling) >= _SHORT else rf"(?<!\w){escaped}(?!\w)"
