"""Which IP addresses are public, and which addresses name a server."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_EMBEDDING: Final = (
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    IPv6Network("64:ff9b::/96"),  # NAT64
)


def is_internal(address: Address) -> bool:
    """Whether an address is not public: loopback, private, link-local, site-local, reserved or multicast.

    An IPv6 address that embeds an IPv4 address is as public as that one: a gateway connects to it.
    """
    if isinstance(address, IPv6Address):
        inner = address.sixtofour
        if any(address in network for network in _EMBEDDING):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_internal(inner)
        # `is_global` alone is not enough: it includes site-local addresses and multicast.
        return address not in _GLOBAL_UNICAST or not address.is_global
    return not address.is_global or address.is_multicast or address.is_reserved


def address_of(text: str) -> Address:
    """Return the address that a resolver returned; its zone (`%eth0`) is dropped."""
    return ip_address(text.partition("%")[0])


def server_address(given: str) -> str:
    """Return the address of a Playhead server, without a `/` at its end.

    Raises:
        ValueError: it is not one.
    """
    try:
        parts = urlsplit(given)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment or "@" in parts.path:
        raise ValueError("it must be the address of a server: http://HOST:PORT or https://HOST")
    return given.rstrip("/")
