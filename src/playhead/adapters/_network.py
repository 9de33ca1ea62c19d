"""Which addresses the built-in steps may connect to.

Any user who can apply a config chooses the hosts. So by default, steps connect to public addresses only. The
operator allows internal hosts and networks with `PLAYHEAD_INTERNAL_HOSTS`. A name is resolved once for each
connection: the address is checked, and the connection uses this address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from playhead import Reject
from playhead.addresses import address_of, is_internal


class Guard:
    """Resolves the names of hosts to addresses that a step may connect to.

    Args:
        allowed: hosts, `host:port` and networks that are allowed although they are internal.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(entry) for entry in allowed if "/" in entry]
        self._hosts = {entry for entry in allowed if "/" not in entry}

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, at least one.

        Raises:
            Reject: all its addresses are internal, and the operator allows none of them.
            OSError: the name cannot be resolved.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        usable = [address for address in addresses if self._is_allowed(host, port, address)]
        if not usable:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise Reject(
                f"{shown} is internal: steps may not connect to it. The operator allows it with "
                f"PLAYHEAD_INTERNAL_HOSTS={shown}"
            )
        return usable

    def _is_allowed(self, host: str, port: int, text: str) -> bool:
        address = address_of(text)
        if not is_internal(address):
            return True
        names = {host.lower().rstrip("."), text, f"[{text}]" if address.version == 6 else text}
        if any(one in self._hosts or f"{one}:{port}" in self._hosts for one in names):
            return True
        return any(address in network for network in self._networks)
