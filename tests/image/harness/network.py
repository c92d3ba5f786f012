"""A network of their own for machines under test: a bridge, DHCP, and EC2's metadata address.

The namespace belongs to the thread that enters it and to everything started from there. It has no
name and no way out, and it is gone when the last of its processes is.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "10.0.2.1"
METADATA = "169.254.169.254"
BRIDGE = "br0"
TAP = "tap0"

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def private_network(folder: Path) -> Iterator[None]:
    """Run the block, its threads and its processes in a network of their own."""
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call(_LIBC.unshare(_CLONE_NEWNET))
        _make_bridge()
        dhcp = _start_dhcp(folder)
        try:
            yield
        finally:
            dhcp.terminate()
            dhcp.wait()
    finally:
        _call(_LIBC.setns(outside, _CLONE_NEWNET))
        os.close(outside)


def _make_bridge() -> None:
    for words in (
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"address add {HOST}/24 dev {BRIDGE}",
        f"address add {METADATA}/32 dev {BRIDGE}",
        f"link set {BRIDGE} up",
        f"tuntap add {TAP} mode tap",
        f"link set {TAP} master {BRIDGE} up",
    ):
        subprocess.run(["ip", *words.split()], check=True)


def _start_dhcp(folder: Path) -> subprocess.Popen[bytes]:
    command = [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0",
        f"--interface={BRIDGE}", "--bind-interfaces", "--dhcp-range=10.0.2.100,10.0.2.200,1h",
        f"--dhcp-leasefile={folder / 'dhcp.leases'}", f"--pid-file={folder / 'dhcp.pid'}",
        "--dhcp-authoritative", "--no-ping",
    ]  # fmt: skip
    with (folder / "dhcp.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _call(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
