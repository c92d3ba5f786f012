"""Checks for every loopback server of this package: only its owner connects, and no web page.

- Any user of this machine can connect to 127.0.0.1, so each connection is looked up: it must belong
  to a process of the owner, or of root, who can read everything anyway.
- Any page in the owner's browser can send requests there. The browser states the page's origin
  (Origin) if it differs from ours, and a page whose own name was made to resolve to 127.0.0.1 sends
  that name as Host (DNS rebinding).
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from socketserver import TCPServer
from typing import Any

ADDRESS = "127.0.0.1"
OUR_NAMES = {ADDRESS, "localhost"}

_HOST = re.compile(r"(?P<name>[^\s,@/:]+)(?::\d{1,5})?")
"""A name and a port, and nothing that two parsers could read as two names."""

CONNECTIONS = Path("/proc/net/tcp")
"""Both ends and the owner of each IPv4 connection. Only Linux has it.

https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
"""

ROOT = 0


def foreign(origin: str | None, hosts: Sequence[str], name: str = ADDRESS) -> str | None:
    """Return why a request is refused, or None.

    `origin` is its Origin header, `hosts` are all its Host headers, `name` is our own address.
    """
    if origin is not None:
        return "web pages may not send requests here"
    if not is_ours(hosts, name):
        return f"this is {name}, and no other name"
    return None


def is_ours(hosts: Sequence[str], name: str = ADDRESS) -> bool:
    """Whether a request names this machine, on any port: it may come through a tunnel."""
    return len(hosts) == 1 and _names(hosts[0], name)


@lru_cache(maxsize=64)
def _names(host: str, name: str) -> bool:
    found = _HOST.fullmatch(host)
    return found is not None and found["name"].lower() in (
        OUR_NAMES if name in OUR_NAMES else {name}
    )


class OwnersOnly(TCPServer):
    """A server that answers only its owner, where the system can tell who connects."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to serve a new connection; otherwise it is closed."""
        return is_owners(client_address[:2], request.getsockname()[:2])


def is_owners(peer: tuple[str, int], own: tuple[str, int]) -> bool:
    """Whether a connection belongs to a process of this process's user, or of root.

    What does not come over loopback is from another machine, or was let in by a firewall.
    """
    if not ip_address(own[0]).is_loopback or not CONNECTIONS.exists():
        return True
    found = end_of(peer, own)
    return found is not None and found.user in {os.geteuid(), ROOT}


@dataclass(frozen=True)
class End:
    """The other end of a connection: its owner, and the number of its socket."""

    user: int
    socket: int


def end_of(peer: tuple[str, int], own: tuple[str, int]) -> End | None:
    """Return the other end of a connection, or None if no process has it open any more."""
    # The table goes through every bucket of the kernel's hash table, 15 ms on a small machine.
    return told_end(peer, own) or listed_end(peer, own)


def told_end(peer: tuple[str, int], own: tuple[str, int]) -> End | None:
    """Return the other end as the kernel tells it of one connection; None if it does not tell.

    https://man7.org/linux/man-pages/man7/sock_diag.7.html
    """
    wanted = _diagnosed(peer, own)
    body = struct.pack("=4BI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, EVERY_STATE) + wanted
    body += struct.pack("=3I", 0, NO_COOKIE, NO_COOKIE)
    head = struct.pack("=IHHII", HEAD_BYTES + len(body), BY_FAMILY, NLM_F_REQUEST, 1, 0)
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel:
        kernel.send(head + body)
        answer = kernel.recv(4096)
        # For a port without this connection it names who listens there, without the other address.
        if answer[4:6] == head[4:6] and answer[20 : 20 + len(wanted)] == wanted:
            user, inode = struct.unpack_from("=II", answer, USER_AT)
            return End(user, inode) if inode else None
    return None


SOCK_DIAG = 4
BY_FAMILY = 20
NLM_F_REQUEST = 1
HEAD_BYTES = 16
EVERY_STATE = NO_COOKIE = 0xFFFFFFFF
USER_AT = 80
"""Where an answer has the user and the inode: behind the head, the connection and its counters.

https://github.com/torvalds/linux/blob/master/include/uapi/linux/inet_diag.h
"""


def _diagnosed(peer: tuple[str, int], own: tuple[str, int]) -> bytes:
    """Return a connection in the form of `inet_diag_sockid`, without interface and cookie."""
    addresses = [socket.inet_aton(host) + bytes(12) for host in (peer[0], own[0])]
    return struct.pack("!HH", peer[1], own[1]) + b"".join(addresses)


def listed_end(peer: tuple[str, int], own: tuple[str, int]) -> End | None:
    """Return the other end as the table of all connections has it, or None."""
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
