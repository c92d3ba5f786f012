"""Lane B: the tree booted by QEMU, with Debian's own kernel, udev, cgroups and ACPI.

The processor is emulated unless this machine's can virtualize, so it takes half a minute.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.image.harness.network import TAP

MEMORY = "1G"
DISK = "6G"
EMPTY_DISK_BYTES = 4 * 2**30
STOP_SECONDS = 10


class VirtualMachine:
    """A booted machine; its disk is thrown away, so that every boot is the first.

    `more_disks` are NVMe devices, as instance-store disks are.
    """

    def __init__(
        self,
        disk: Path,
        tree: Path,
        folder: Path,
        words: tuple[str, ...],
        more_disks: Sequence[Path] = (),
    ) -> None:
        self.console = folder / "console.log"
        self._events: list[dict[str, Any]] = []
        monitor = folder / "qmp"
        kernel, initrd = (newest(tree / "boot", name) for name in ("vmlinuz-*", "initrd.img-*"))
        append = ["root=/dev/vda", "rw", "console=ttyS0", "panic=-1",
                  "systemd.journald.forward_to_console=1", *words]  # fmt: skip
        command = [
            "qemu-system-x86_64", "-machine", "q35", *processor(), "-smp", "2", "-m", MEMORY,
            "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", str(kernel), "-initrd", str(initrd), "-append", " ".join(append),
            "-drive", f"file={disk},if=virtio,format=raw,snapshot=on",
            "-netdev", f"tap,id=net,ifname={TAP},script=no,downscript=no",
            "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
            "-serial", f"file:{self.console}",
            *(word for one in more_disks for word in nvme(one)),
            "-chardev", f"socket,id=qmp,path={monitor},server=on,wait=on",
            "-mon", "chardev=qmp,mode=control",
        ]  # fmt: skip
        with (folder / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._monitor = connect(monitor, self.process)
        self._say("qmp_capabilities")

    def powered_off(self) -> bool:
        """Whether the guest itself switched off, as ACPI reports it, and not a panic or QEMU."""
        return self._shutdown_reason() == "guest-shutdown"

    def stop(self) -> None:
        """Pull the plug."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(STOP_SECONDS)
        self._monitor.close()

    def _shutdown_reason(self) -> str | None:
        # QEMU has ended, so everything that it said is there to be read.
        with suppress(OSError), self._monitor.makefile(encoding="utf-8") as lines:
            self._events += [json.loads(line) for line in lines]
        reasons = [e["data"]["reason"] for e in self._events if e.get("event") == "SHUTDOWN"]
        return reasons[0] if reasons else None

    def _say(self, command: str) -> None:
        self._monitor.sendall(json.dumps({"execute": command}).encode())


@contextmanager
def machines() -> Iterator[list[VirtualMachine]]:
    """Collect machines, which are gone when the block ends."""
    started: list[VirtualMachine] = []
    try:
        yield started
    finally:
        for machine in started:
            machine.stop()


def make_disk(tree: Path, disk: Path) -> Path:
    """Put a tree on a disk of its own, without a mount."""
    with disk.open("wb") as file:
        file.truncate(0)
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", tree, "-E", "lazy_itable_init=1,root_owner=0:0",
         "-O", "^has_journal", disk, DISK],
        check=True,
    )  # fmt: skip
    return disk


def nvme(disk: Path) -> list[str]:
    """Return what makes a file an NVMe disk of the machine."""
    drive = f"file={disk},if=none,id={disk.stem},format=raw,snapshot=on"
    return ["-drive", drive, "-device", f"nvme,serial={disk.stem},drive={disk.stem}"]


def make_empty_disks(folder: Path, count: int) -> list[Path]:
    """Make disks that take no room before they are written."""
    disks = [folder / f"store{number}.img" for number in range(count)]
    for disk in disks:
        with disk.open("wb") as file:
            file.truncate(EMPTY_DISK_BYTES)
    return disks


def processor() -> list[str]:
    """Return the processor to use: real if it can virtualize, or else emulated."""
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    if {"vmx", "svm"} & set(flags):
        return ["-accel", "kvm", "-cpu", "host"]
    # A plain processor is emulated faster than a modern one, and has no drivers to load. Newer
    # kernels use cmpxchg16b in a way that QEMU 7 emulates wrongly.
    return ["-accel", "tcg,thread=multi", "-cpu", "qemu64,cx16=off,svm=off"]


def newest(folder: Path, pattern: str) -> Path:
    """Return the last of the files with names of a pattern."""
    return max(folder.glob(pattern))


def connect(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """Return a connection to QEMU's monitor; QEMU waits for it before it starts the guest."""
    monitor = socket.socket(socket.AF_UNIX)
    while True:
        try:
            monitor.connect(str(path))
        except OSError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                raise
        else:
            return monitor
