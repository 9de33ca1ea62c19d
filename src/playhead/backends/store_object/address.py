"""Parsing `PLAYHEAD_STORE`, and creating a client for it.

    s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1&virtual_host=false
    gs://bucket/prefix
    az://container/prefix?account=name

The URL contains no credentials. The library reads them, and all its other settings, from the environment
(`AWS_*`, `GOOGLE_*`, `AZURE_*`) or from the machine's role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from playhead.errors import CannotStart
from playhead.keys import is_utf8

if TYPE_CHECKING:
    from obstore.store import ClientConfig

Client = S3Store | GCSStore | AzureStore

_CLIENTS: Final[Mapping[str, type[Client]]] = {"s3": S3Store, "gcs": GCSStore, "azure": AzureStore}
_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "s3": {"endpoint": "endpoint", "region": "region", "virtual_host": "virtual_hosted_style_request"},
    "gcs": {},
    "azure": {"account": "account_name", "endpoint": "endpoint"},
}
"""The options of a URL, with their names in the library."""
_RETRIES: Final = 4
_KINDS: Final = {"s3": "s3", "gs": "gcs", "az": "azure"}
_NO_CREDENTIALS: Final = "set credentials in the environment"
_UNORDERED: Final = "--x-s3"
"""The end of the names of directory buckets (S3 Express One Zone)."""


@dataclass(frozen=True)
class Address:
    """The parts of an object store's URL.

    Attributes:
        kind: `s3`, `gcs` or `azure`: the name of the backend in health reports.
        bucket: the bucket or container.
        prefix: prepended to every key, without slashes at its ends; may be empty.
        options: the options of the URL.
    """

    kind: str
    bucket: str
    prefix: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        """The address without secrets."""
        scheme = next(scheme for scheme, kind in _KINDS.items() if kind == self.kind)
        place = f"{scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")
        return place + (f" at {self.options['endpoint']}" if "endpoint" in self.options else "")


def parse(url: str) -> Address:
    """Parse a URL.

    Raises:
        CannotStart: `setup_invalid`; its text names the fault and the fix.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong(f"PLAYHEAD_STORE is invalid; {_NO_CREDENTIALS}") from None
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        raise _wrong(f"PLAYHEAD_STORE has the scheme {parts.scheme!r}; object stores are s3://, gs://, az://")
    # Secret keys contain slashes, so part of one would be taken for the prefix, and shown.
    if "@" in parts.netloc or ":" in parts.netloc or parts.fragment:
        raise _wrong(f"PLAYHEAD_STORE takes neither a user, a port nor a fragment; {_NO_CREDENTIALS}")
    bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
    if not bucket:
        raise _wrong(f"PLAYHEAD_STORE names no bucket; write {parts.scheme}://bucket/prefix")
    if bucket.endswith(_UNORDERED):
        # Replays resume after a key, so an unordered listing would lose objects.
        raise _wrong(
            f"{bucket} is a directory bucket (S3 Express), which does not list its keys in order; "
            "use a general purpose bucket"
        )
    if prefix and not storable(prefix):
        raise _wrong(f"the prefix {prefix!r} in PLAYHEAD_STORE has an empty segment, `.` or `..`")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name not in _OPTIONS[kind]:
            known = ", ".join(_OPTIONS[kind]) or "none"
            raise _wrong(f"PLAYHEAD_STORE has the unknown option {name!r}; the options are {known}")
        if not value:
            raise _wrong(f"the option {name} in PLAYHEAD_STORE is empty")
    if "endpoint" in options:
        _check_endpoint(options["endpoint"])
    if options.get("virtual_host", "false") not in ("true", "false"):
        raise _wrong("the option virtual_host in PLAYHEAD_STORE is true or false")
    return Address(kind, bucket, prefix, options)


def connect(address: Address, client: ClientConfig, *, retry_seconds: float) -> Client:
    """Create a client; does no I/O.

    Args:
        retry_seconds: time limit of retries after a 5xx answer or a broken connection.

    Raises:
        CannotStart: `setup_invalid`: the library rejects a setting of the environment.
    """
    if address.options.get("endpoint", "").startswith("http://"):
        client = {**client, "allow_http": True}
    settings: dict[str, Any] = {
        "prefix": address.prefix or None,
        "client_options": client,
        "retry_config": {
            "max_retries": _RETRIES,
            "retry_timeout": timedelta(seconds=retry_seconds),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=3),
                "base": 2,
            },
        },
    }
    for name, value in address.options.items():
        settings[_OPTIONS[address.kind][name]] = value == "true" if name == "virtual_host" else value
    try:
        return _CLIENTS[address.kind](address.bucket, **settings)
    except (BaseError, ValueError) as exc:
        raise _wrong(f"cannot create a client for {address}: {str(exc).splitlines()[0][:300]}") from exc


def storable(key: str) -> bool:
    """Whether the library can represent the key without changing it."""
    if not key.isprintable() and any(ord(char) < 32 or ord(char) == 127 for char in key):
        return False
    if not is_utf8(key):
        return False
    # It would drop a slash at an end, and so use another object.
    return not any(segment in ("", ".", "..") for segment in key.split("/"))


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise _wrong("the option endpoint in PLAYHEAD_STORE is a URL: http://host:port or https://host")
    if "@" in parts.netloc:
        raise _wrong("the endpoint in PLAYHEAD_STORE takes no user and password; set them in the environment")


def _wrong(detail: str) -> CannotStart:
    return CannotStart("setup_invalid", detail)
