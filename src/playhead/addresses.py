"""Which IP addresses are public, which addresses name a server, and which paths lead to it.

The networks are from the registries of special-purpose addresses of IANA. `is_global` of Python's `ipaddress`
differs between versions of Python, and counts addresses as public at which clouds offer their metadata.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address

_INTERNAL_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared address space of providers; metadata of Alibaba Cloud
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # host services of Azure
            "169.254.0.0/16",  # link-local; metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; metadata of Oracle Cloud
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_INTERNAL_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, with Teredo, benchmarks and ORCHID
            "2001:db8::/32",  # documentation
            "3ffe::/16",  # 6bone
            "3fff::/20",  # documentation
        ),
    )
)
"""Inside the global unicast addresses. All other addresses outside of these are internal."""
_EMBEDDING: Final = (
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    IPv6Network("64:ff9b::/96"),  # NAT64
)


def is_internal(address: Address) -> bool:
    """Whether an address is not public: loopback, private, link-local, site-local, reserved or multicast.

    An IPv6 address that embeds an IPv4 address is as public as that one: a gateway connects to it.
    """
    if isinstance(address, IPv4Address):
        return any(address in network for network in _INTERNAL_V4)
    inner = address.sixtofour
    if any(address in network for network in _EMBEDDING):
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return is_internal(inner)
    return address not in _GLOBAL_UNICAST or any(address in network for network in _INTERNAL_V6)


def is_loopback(host: str) -> bool:
    """Whether a socket on this address or name is reachable only from this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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


def own_path(given: str) -> str:
    """Return a path of this server with its query; `/` if a browser would load another server or a login."""
    is_path = given.startswith("/") and not given.startswith(("//", "/login", "/logout"))
    return given if is_path and "\\" not in given and all("!" <= one <= "~" for one in given) else "/"


def public_address(given: str) -> str:
    """Return the address of a server for browsers, in lower case and without a `/` at its end.

    Raises:
        ValueError: it is not one.
    """
    address = given.rstrip("/").lower()
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", 0
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)) if host else False
    if not is_safe or port == 0 or address != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        raise ValueError("it must be https://HOST or https://HOST:PORT; http: only on the loopback interface")
    return address
