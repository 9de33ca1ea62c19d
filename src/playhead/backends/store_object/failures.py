"""What an object store's refusals mean: from the library's errors to ours.

The library gives one long text: words, the answer's XML, and a dump of its own structures. Only the
status, S3's code and its message are taken from it, as nothing else is sure to hold no secret.
"""

from __future__ import annotations

import html
import re
from typing import Final

from obstore.exceptions import BaseError, InvalidPathError

from playhead.backends.store_object.address import Address
from playhead.errors import BadRequest, PlayheadError, StoreFull, store_unavailable

Failure = (BaseError, OSError)
"""What a call of the library raises when the store, or the way to it, does not play along."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,80})</Code>")
_WORDS = re.compile(r"<Message>([^<]{1,1000})</Message>")
_SYSTEM = re.compile(r'(?:message|error): \\?"([^"\\]{1,200})')
_RETRIES = re.compile(r"after (\d+) retries")
_BAD_PATH = re.compile(r'invalid path: .*?[Pp]ath "(.*?)"[ :]', re.DOTALL)
_INSTANCE: Final = ("169.254.169.254", "169.254.170.", "fd00:ec2", "metadata.google.internal")

_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"})
_RIGHTS: Final = {
    "read": ("s3:GetObject", "/*"),
    "write": ("s3:PutObject", "/*"),
    "remove": ("s3:DeleteObject", "/_doctor/*"),
    "list": ("s3:ListBucket", ""),
}
_CREDENTIALS: Final = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of this process"
_GIVEN: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS",
    "azure": "AZURE_STORAGE_ACCOUNT_KEY",
}
_HINTS: Final = {
    "NoSuchBucket": "create it, or correct PLAYHEAD_STORE",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": "the credentials have run out; give this process new ones",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it (NTP)",
    "InvalidObjectState": "it is archived: restore it, and work on it goes on by itself",
    "SlowDown": "it wants fewer requests just now; work goes on by itself when it takes them again",
    "PermanentRedirect": "the bucket is in another region; name it as ?region=… in PLAYHEAD_STORE",
    "AuthorizationHeaderMalformed": "the bucket is in another region; name it as ?region=… in PLAYHEAD_STORE",
    "301": "the bucket is in another region; name it as ?region=… in PLAYHEAD_STORE",
    "503": "it is overloaded or being restarted; work goes on by itself when it is back",
}


def missing(exc: BaseException) -> bool:
    """Whether an error only says that there is no such object: a bucket that is gone says 404, too."""
    return isinstance(exc, FileNotFoundError) and code_of(exc) != "NoSuchBucket"


def code_of(exc: BaseException) -> str:
    """S3's code, else the HTTP status, else an empty string."""
    text = str(exc)
    found = _CODE.search(text) or _STATUS.search(text)
    return found[1] if found else ""


def translate(exc: BaseException, verb: str, address: Address, key: str = "") -> PlayheadError:
    """Say what happened, where, and what to do.

    Args:
        verb: `read`, `write`, `list` or `remove`.
        key: of the object in question: it may be the only one that the store can't give.
    """
    text = str(exc)
    if isinstance(exc, InvalidPathError):
        return _unnameable(text, address)
    detail = f"can't {verb} {f'{key} ' if key else ''}in {address}: "
    if "without LOCATION" in text:
        return store_unavailable(f"{detail}it sends us elsewhere; {_HINTS['301']}")
    code = code_of(exc)
    status = _STATUS.search(text)
    if any(host in text for host in _INSTANCE):
        return store_unavailable(
            f"{detail}there are no credentials: neither the environment nor this machine has any; "
            f"set {_GIVEN[address.kind]}, or give the machine a role"
        )
    if code or status:
        words = _WORDS.search(text)
        said = html.unescape(words[1]).strip().rstrip(".")[:300] if words else ""
        number = f" ({status[1]})" if status and status[1] != code else ""
        happened = f"it answers {code}{number}" + (f", {said}" if said else "") + _tried(text)
        if code in _FULL:
            return StoreFull(f"{detail}{happened}; make room, and it goes on")
        hint = _HINTS.get(code) or (_denied(verb, address) if status and status[1] == "403" else None)
        hint = hint or (_HINTS.get(status[1]) if status else None)
        return store_unavailable(detail + happened + (f"; {hint}" if hint else ""))
    return store_unavailable(detail + _unreached(text) + _tried(text))


def _denied(verb: str, address: Address) -> str:
    if address.kind != "s3":
        return f"allow the credentials of this process to {verb} objects there"
    action, below = _RIGHTS[verb]
    inside = f"/{address.prefix}" if address.prefix and below else ""
    return (
        f"the credentials of this process need {action} on arn:aws:s3:::{address.bucket}{inside}{below}"
        " (a missing object is refused like this, too, where s3:ListBucket is missing)"
        if verb == "read"
        else f"the credentials of this process need {action} on arn:aws:s3:::{address.bucket}{inside}{below}"
    )


def _unreached(text: str) -> str:
    system = _SYSTEM.search(text)
    if "Name or service not known" in text or "dns error" in text:
        return "its name is not known; check the endpoint in PLAYHEAD_STORE, and this machine's DNS"
    if "TimedOut" in text or "timed out" in text:
        return "no answer in time; check the endpoint, the network and its firewalls"
    if "kind: Connect" in text:
        why = system[1] if system else "no connection"
        return f"{why}; does it run there, and does PLAYHEAD_STORE name the right endpoint?"
    first = text.splitlines()[0] if text else "unknown error"
    # After the last dash stand the words of the error; before it a URL, which says no more than we do.
    return (system[1] if system else first.rpartition(" - ")[2])[:300]


def _tried(text: str) -> str:
    found = _RETRIES.search(text)
    return f" (tried {int(found[1]) + 1} times)" if found else ""


def _unnameable(text: str, address: Address) -> PlayheadError:
    """A page of a listing holds a key that the library can't hold, and so gives nothing of that page."""
    found = _BAD_PATH.search(text)
    key = repr(found[1]) if found else "one"
    return BadRequest(
        "invalid_path",
        f"{address} holds the key {key}, with an empty segment, `.`, `..` or a control character in it; "
        "no listing gets past it: rename or remove it, then try again",
    )
