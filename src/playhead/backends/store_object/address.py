"""Where an object store is: from `PLAYHEAD_STORE` to a client of it.

    s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1&virtual_host=false
    gs://bucket/prefix
    az://container/prefix?account=name

Credentials never stand in the URL. The client's library reads them, and every other setting of its own,
from the environment by itself (`AWS_*`, `GOOGLE_*`, `AZURE_*`), else asks the machine it runs on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from playhead.errors import CannotStart

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

Client = S3Store | GCSStore | AzureStore

_OPTIONS: Final = {
    "s3": ("endpoint", "region", "virtual_host"),
    "gcs": (),
    "azure": ("account", "endpoint"),
}
_KINDS: Final = {"s3": "s3", "gs": "gcs", "az": "azure"}
_NO_CREDENTIALS: Final = "credentials go by the environment"
_UNORDERED: Final = "--x-s3"
"""How names of directory buckets (S3 Express One Zone) end."""


@dataclass(frozen=True)
class Address:
    """An object store, by the parts of its URL.

    Attributes:
        kind: `s3`, `gcs` or `azure`: what health calls the backend.
        bucket: or container.
        prefix: stands before every key, without slashes at its ends; may be empty.
        options: what the URL says besides.
    """

    kind: str
    bucket: str
    prefix: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        """For people, and without anything secret."""
        scheme = next(scheme for scheme, kind in _KINDS.items() if kind == self.kind)
        place = f"{scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")
        return place + (f" at {self.options['endpoint']}" if "endpoint" in self.options else "")


def parse(url: str) -> Address:
    """Take a URL apart.

    Raises:
        CannotStart: `setup_invalid`, with what is wrong and what to write instead.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong(f"PLAYHEAD_STORE can't be read; {_NO_CREDENTIALS}") from None
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        raise _wrong(f"PLAYHEAD_STORE has the scheme {parts.scheme!r}; object stores are s3://, gs://, az://")
    # Secret keys hold slashes: then the rest of one would pass for the prefix, and be shown.
    if "@" in parts.netloc or ":" in parts.netloc or parts.fragment:
        raise _wrong(f"PLAYHEAD_STORE takes neither a user, a port nor a fragment; {_NO_CREDENTIALS}")
    bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
    if not bucket:
        raise _wrong(f"PLAYHEAD_STORE names no bucket; write {parts.scheme}://bucket/prefix")
    if bucket.endswith(_UNORDERED):
        # Replays go on after a key, so a listing without an order would lose some.
        raise _wrong(
            f"{bucket} is a directory bucket (S3 Express), which does not list its keys in order; "
            "take a general purpose bucket"
        )
    if prefix and not storable(prefix):
        raise _wrong(f"the prefix {prefix!r} in PLAYHEAD_STORE has an empty segment, `.` or `..`")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name not in _OPTIONS[kind]:
            near = get_close_matches(name, _OPTIONS[kind], 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_OPTIONS[kind]) or 'none'}"
            raise _wrong(f"PLAYHEAD_STORE has the unknown option {name!r}; {hint}")
        if not value:
            raise _wrong(f"the option {name} in PLAYHEAD_STORE is empty")
    _check_endpoint(options.get("endpoint"))
    if options.get("virtual_host", "false") not in ("true", "false"):
        raise _wrong("the option virtual_host in PLAYHEAD_STORE is true or false")
    return Address(kind, bucket, prefix, options)


def connect(address: Address, *, client: ClientConfig, retry: RetryConfig) -> Client:
    """Make a client; does no I/O.

    Raises:
        CannotStart: `setup_invalid`: the environment holds what the library can't take.
    """
    options: dict[str, Any] = {}
    if endpoint := address.options.get("endpoint"):
        options["endpoint"] = endpoint
        if endpoint.startswith("http://"):
            client = {**client, "allow_http": True}
    try:
        if address.kind == "gcs":
            return GCSStore(
                address.bucket, prefix=address.prefix or None, client_options=client, retry_config=retry
            )
        if address.kind == "azure":
            if account := address.options.get("account"):
                options["account_name"] = account
            return AzureStore(
                address.bucket,
                prefix=address.prefix or None,
                client_options=client,
                retry_config=retry,
                **options,
            )
        if region := address.options.get("region"):
            options["region"] = region
        if virtual := address.options.get("virtual_host"):
            options["virtual_hosted_style_request"] = virtual == "true"
        return S3Store(
            address.bucket,
            prefix=address.prefix or None,
            client_options=client,
            retry_config=retry,
            **options,
        )
    except (BaseError, ValueError) as exc:
        raise _wrong(f"no client for {address} can be made: {str(exc).splitlines()[0][:300]}") from exc


def bounded(retries: int, seconds: float) -> RetryConfig:
    """So often, and for so long, a request that met a 5xx or a broken connection is sent again."""
    return {
        "max_retries": retries,
        "retry_timeout": timedelta(seconds=seconds),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=3),
            "base": 2,
        },
    }


def storable(key: str) -> bool:
    """Whether the library can name an object of that key, and by that name alone."""
    if not key.isprintable() and any(ord(char) < 32 or ord(char) == 127 for char in key):
        return False
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError:
            return False
    # A slash at an end it would drop, and so reach another object.
    return not any(segment in ("", ".", "..") for segment in key.split("/"))


def _check_endpoint(endpoint: str | None) -> None:
    if endpoint is None:
        return
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        raise _wrong("the option endpoint in PLAYHEAD_STORE can't be read; it is http://host:port") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise _wrong("the option endpoint in PLAYHEAD_STORE is a URL: http://host:port or https://host")
    if "@" in parts.netloc:
        raise _wrong("the endpoint in PLAYHEAD_STORE takes no user and password; they go by the environment")


def _wrong(detail: str) -> CannotStart:
    return CannotStart("setup_invalid", detail)
