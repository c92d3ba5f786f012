"""Checks of every loopback server of this package: only its owner connects, and no web page.

- Any user of this machine can connect to 127.0.0.1, so a connection is looked up: it has to be of a
  process of the owner's, or of root's, who can read everything anyway.
- Any page in the owner's browser can send requests there. A browser says whose page it is (Origin)
  wherever that is another's, and a page whose own name was made to lead to 127.0.0.1 has that name
  as its Host (DNS rebinding).
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from socketserver import TCPServer
from typing import Any

ADDRESS = "127.0.0.1"
OUR_NAMES = {ADDRESS, "localhost"}

_HOST = re.compile(r"(?P<name>[^\s,@/:]+)(?::\d{1,5})?")
"""A name and a port, and nothing that two readers could read as two names."""

CONNECTIONS = Path("/proc/net/tcp")
"""Both ends of each IPv4 connection, and whose it is. Only Linux has it.

https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
"""

ROOT = 0


def foreign(origin: str | None, hosts: Sequence[str], name: str = ADDRESS) -> str | None:
    """Return why a request is refused, or None.

    `origin` is its header of that name, `hosts` all of its headers Host, `name` our own address.
    """
    if origin is not None:
        return "no web page may ask here"
    if not is_ours(hosts, name):
        return f"this is {name}, and no other name"
    return None


def is_ours(hosts: Sequence[str], name: str = ADDRESS) -> bool:
    """Whether a request names this machine, whatever the port: it may come through a tunnel."""
    names = OUR_NAMES if name in OUR_NAMES else {name}
    found = [_HOST.fullmatch(host) for host in hosts]
    return [one is not None and one["name"].lower() in names for one in found] == [True]


class OwnersOnly(TCPServer):
    """A server that answers only its owner, where the system can tell who connects."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a new connection is to be served; it is closed if not."""
        return is_owners(client_address[:2], request.getsockname()[:2])


def is_owners(peer: tuple[str, int], own: tuple[str, int]) -> bool:
    """Whether a connection is of a process of this process's user, or of root's.

    What does not come by loopback is another machine, or has been let in by a firewall.
    """
    if not ip_address(own[0]).is_loopback or not CONNECTIONS.exists():
        return True
    found = end_of(peer, own)
    return found is not None and found.user in {os.geteuid(), ROOT}


@dataclass(frozen=True)
class End:
    """The other end of a connection: whose it is, and the number of its socket."""

    user: int
    socket: int


def end_of(peer: tuple[str, int], own: tuple[str, int]) -> End | None:
    """Return the other end of a connection, None if nobody has it open any more."""
    ends = [_as_listed(*peer), _as_listed(*own)]
    for line in CONNECTIONS.read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        # A closed end has no inode, and root as its user, whichever process closed it.
        if fields[1:3] == ends and fields[9] != "0":
            return End(int(fields[7]), int(fields[9]))
    return None


def _as_listed(host: str, port: int) -> str:
    address = int.from_bytes(socket.inet_aton(host), sys.byteorder)
    return f"{address:08X}:{port:04X}"
