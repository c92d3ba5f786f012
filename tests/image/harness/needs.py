"""What the image's tests need of the machine, and what to say when it is not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

FOR_CONTAINERS = ("mmdebstrap", "systemd-nspawn", "ip", "dnsmasq", "zstd", "unshare", "chroot")
FOR_MACHINES = ("qemu-system-x86_64", "mke2fs")
FOR_PACKER = ("packer", "ssh-keygen")


def missing(programs: tuple[str, ...]) -> str | None:
    """Return the reason why a lane cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root, for chroots and network namespaces"
    if lacking := [name for name in programs if shutil.which(name) is None]:
        return f"needs {', '.join(lacking)}: tests/install-packages.sh"
    if cgroup2() is None:
        return "needs cgroup v2, at /sys/fs/cgroup or /sys/fs/cgroup/unified"
    return None


def cgroup2() -> Path | None:
    """Return where this machine has cgroup v2 mounted, for writing."""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(where)
    return None
