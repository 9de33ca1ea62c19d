"""Keys and session tokens: their form, and the hash of them that the catalog stores.

A key is `phk_`, 8 characters of its public id, `_`, 32 characters of the secret (190 bits), and 6 characters
of a CRC-32. The prefix and the checksum let scanners find keys in files, and the checksum rejects other texts
without a query. The secret is random, so its SHA-256 needs no salt and no slow function.
"""

from __future__ import annotations

import re
import secrets
import zlib
from hashlib import sha256
from typing import Final, NamedTuple

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(r"phk_([0-9A-Za-z]{8})_[0-9A-Za-z]{32}([0-9A-Za-z]{6})", re.ASCII)
_ID: Final = 8
_SECRET: Final = 32
_SUM: Final = 6
_ANY_KEY: Final = re.compile(r"phk_([0-9A-Za-z]{8})_[0-9A-Za-z]+", re.ASCII)


class NewKey(NamedTuple):
    """A key that was just made.

    Attributes:
        text: the key itself. It is shown once, and stored nowhere.
        id: its public id.
        hash: what the catalog stores.
    """

    text: str
    id: str
    hash: bytes


def new_key() -> NewKey:
    """Return a random key."""
    identity, secret = _random(_ID), _random(_SECRET)
    text = whole(f"phk_{identity}_{secret}")
    return NewKey(text, identity, hash_of(text))


def whole(body: str) -> str:
    """Return a key: its prefix, its public id and its secret, followed by their checksum."""
    return body + _sum(body)


def key_id(text: str) -> str | None:
    """Return the public id of a key; None if the text cannot be a key."""
    parts = _KEY.fullmatch(text)
    return parts[1] if parts and _sum(text[:-_SUM]) == parts[2] else None


def new_token() -> str:
    """Return the value of a session cookie: 43 random characters (256 bits)."""
    return secrets.token_urlsafe(32)


def hash_of(text: str) -> bytes:
    """Return what the catalog stores of a key or a token, and what it finds them by.

    So how long a lookup takes depends on the hash, and tells nothing about the key or the token.
    """
    return sha256(text.encode(errors="replace")).digest()


def masked(text: str) -> str:
    """Return a text with each key replaced by its public id."""
    return _ANY_KEY.sub(r"phk_\1_***", text)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _sum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_SUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
