"""Translating the errors of the library (obstore) into those of Playhead.

The library returns one long text: a message, the XML of the answer, and a dump of its own structures. Only
the status, S3's code and S3's message are used, because other parts may contain secrets.
"""

from __future__ import annotations

import html
import re
from collections.abc import Awaitable
from typing import Final, TypeVar

from obstore.exceptions import BaseError, InvalidPathError

from playhead.backends.store_object.address import Address
from playhead.errors import BadRequest, PlayheadError, StoreFull, store_unavailable

T = TypeVar("T")

Failure = (BaseError, OSError)
"""What a call of the library raises when the store refuses it or cannot be reached."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,80})</Code>")
_WORDS = re.compile(r"<Message>([^<]{1,1000})</Message>")
_SYSTEM = re.compile(r'(?:message|error): \\?"([^"\\]{1,200})')
_RETRIES = re.compile(r"after (\d+) retries")
_BAD_PATH = re.compile(r'invalid path: .*?[Pp]ath "(.*?)"[ :]', re.DOTALL)
_INSTANCE: Final = ("169.254.169.254", "169.254.170.", "fd00:ec2", "metadata.google.internal")

_FULL: Final = (
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "InsufficientStorage",
    "507",
)
_RIGHTS: Final = {
    "read": ("s3:GetObject", "/*"),
    "write": ("s3:PutObject", "/*"),
    "list": ("s3:ListBucket", ""),
    "delete": ("s3:DeleteObject", "/*"),
}
_CREDENTIALS: Final = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of this process"
_GIVEN: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS",
    "azure": "AZURE_STORAGE_ACCOUNT_KEY",
}
_REGION: Final = "the bucket is in another region; name it as ?region=… in PLAYHEAD_STORE"
_HINTS: Final = {
    "NoSuchBucket": "create it, or correct PLAYHEAD_STORE",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": "the credentials have expired; give this process new ones",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it (NTP)",
    "InvalidObjectState": "it is archived: restore it, and work on it resumes by itself",
    "SlowDown": "it limits the request rate; work resumes by itself when it accepts requests again",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "301": _REGION,
    "503": "it is overloaded or restarting; work resumes by itself when it is back",
}


def missing(exc: BaseException) -> bool:
    """Whether an error means that there is no such object. A missing bucket also answers 404."""
    return isinstance(exc, FileNotFoundError) and code_of(exc) != "NoSuchBucket"


def code_of(exc: BaseException) -> str:
    """Return S3's code, else the HTTP status, else an empty string."""
    text = str(exc)
    found = _CODE.search(text) or _STATUS.search(text)
    return found[1] if found else ""


async def attempt(verb: str, address: Address, request: Awaitable[T]) -> T:
    """Await a request of the library. Raises the error of `translate`."""
    try:
        return await request
    except Failure as exc:
        raise translate(exc, verb, address) from exc


def translate(exc: BaseException, verb: str, address: Address, key: str = "") -> PlayheadError:
    """Return the error that states what happened, where, and what to do.

    Args:
        verb: `read`, `write`, `list` or `delete`.
        key: the object, as it may be the only one that cannot be read.
    """
    text = str(exc)
    if isinstance(exc, InvalidPathError):
        return _unnameable(text, address)
    detail = f"cannot {verb} {f'{key} ' if key else ''}in {address}: "
    if "without LOCATION" in text:
        return store_unavailable(f"{detail}it redirects the request; {_REGION}")
    if any(host in text for host in _INSTANCE):
        return store_unavailable(
            f"{detail}there are no credentials in the environment or on this machine; "
            f"set {_GIVEN[address.kind]}, or give the machine a role"
        )
    code = code_of(exc)
    if not code:
        return store_unavailable(detail + _unreached(text) + _tried(text))
    status = found[1] if (found := _STATUS.search(text)) else ""
    number = f" ({status})" if status not in ("", code) else ""
    words = _WORDS.search(text)
    said = f", {html.unescape(words[1]).strip().rstrip('.')[:300]}" if words else ""
    happened = f"{detail}it answers {code}{number}{said}{_tried(text)}"
    if code in _FULL:
        return StoreFull(f"{happened}; free some space there, and work resumes")
    hint = _HINTS.get(code) or (_denied(verb, address) if status == "403" else _HINTS.get(status))
    return store_unavailable(f"{happened}; {hint}" if hint else happened)


def _denied(verb: str, address: Address) -> str:
    if address.kind != "s3":
        return f"allow the credentials of this process to {verb} objects there"
    action, below = _RIGHTS[verb]
    inside = f"/{address.prefix}" if address.prefix and below else ""
    also = " (without s3:ListBucket, a missing object causes this error, too)" if verb == "read" else ""
    return (
        f"the credentials of this process need {action} on arn:aws:s3:::{address.bucket}{inside}{below}{also}"
    )


def _unreached(text: str) -> str:
    system = _SYSTEM.search(text)
    if "dns error" in text:
        return "its name cannot be resolved; check the endpoint in PLAYHEAD_STORE, and this machine's DNS"
    if "TimedOut" in text or "timed out" in text:
        return "no answer in time; check the endpoint, the network and its firewalls"
    if "kind: Connect" in text:
        why = system[1] if system else "no connection"
        return f"{why}; check that it is running, and the endpoint in PLAYHEAD_STORE"
    first = text.splitlines()[0] if text else "unknown error"
    # The message is after the last dash; before it is a URL, which our own text already names.
    return (system[1] if system else first.rpartition(" - ")[2])[:300]


def _tried(text: str) -> str:
    found = _RETRIES.search(text)
    return f" (tried {int(found[1]) + 1} times)" if found else ""


def _unnameable(text: str, address: Address) -> PlayheadError:
    """Return the error for a page with a key that the library cannot represent. It returns nothing of the
    page."""
    found = _BAD_PATH.search(text)
    key = repr(found[1]) if found else "one"
    return BadRequest(
        "invalid_path",
        f"{address} contains the key {key}, which has an empty segment, `.`, `..` or a control character. "
        "No listing can pass it: rename or remove it, then try again",
    )
