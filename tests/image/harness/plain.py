"""Plain systems as vendors' images have them: nothing of ours inside, and user data is run.

Debian is the base tree that the image is made of. Ubuntu is bootstrapped from its own archive.
Amazon Linux has no archive that a bootstrap could use; Debian 12 stands for it, with the same
versions of systemd (252) and of the Python that the agent uses there (3.11).
"""

from __future__ import annotations

import hashlib
import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.image.harness import tree

PACKAGES = (
    "systemd-sysv", "udev", "dbus", "iproute2", "sudo", "python3", "ca-certificates", "nftables",
)  # fmt: skip
"""What all of these images bring along, as far as a worker needs it."""

UBUNTU = "http://archive.ubuntu.com/ubuntu"
UBUNTU_KEYS = (
    f"{UBUNTU}/pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb",
    "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8",
)
"""The keys that Ubuntu signs with, which Debian does not have, and what they must be."""

SETTINGS = {
    "etc/systemd/network/80-dhcp.network": tree.BASE_SETTINGS[
        "etc/systemd/network/80-dhcp.network"
    ],
    # In place of cloud-init, which does the same at the end of a first boot.
    "etc/systemd/system/user-data.service": """
[Unit]
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /usr/local/lib/run-user-data

[Install]
WantedBy=multi-user.target
""",
    "usr/local/lib/run-user-data": """
import os, pathlib, urllib.request

SERVICE = "http://169.254.169.254/latest"
seconds = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
request = urllib.request.Request(f"{SERVICE}/api/token", method="PUT", headers=seconds)
token = {"X-aws-ec2-metadata-token": urllib.request.urlopen(request).read().decode()}
request = urllib.request.Request(f"{SERVICE}/user-data", headers=token)
script = pathlib.Path("/run/user-data")
script.write_bytes(urllib.request.urlopen(request).read())
script.chmod(0o700)
os.execv(script, [script])
""",
}


@dataclass(frozen=True)
class System:
    """A plain system: its suite, and the version of the Python that the agent uses there."""

    suite: str
    python: str


def unpacked(system: System, folder: Path) -> Path:
    """Return the tree of a system, which nobody may change; `folder` is the test session's."""
    target = folder / f"plain-{system.suite}"
    with tree.only_one(target):
        if not target.exists():
            partial = target.with_suffix(".partial")
            partial.mkdir()
            tree.run("tar", "--zstd", "-xf", archive(system.suite), "-C", partial)
            settle(partial)
            partial.rename(target)
    return target


def archive(suite: str) -> Path:
    """Return the archive of a plain system; make it if need be."""
    if suite == tree.SUITE:
        return tree.base_archive()
    recipe = hashlib.sha256(repr((suite, PACKAGES, UBUNTU_KEYS)).encode()).hexdigest()[:12]
    made = tree.CACHE / f"plain-{suite}-{recipe}.tar.zst"
    with tree.only_one(made):
        if not made.exists():
            bootstrap(suite, made)
    return made


def bootstrap(suite: str, made: Path) -> None:
    """Have mmdebstrap make a tree, and pack it."""
    partial = made.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        tree.run(
            "mmdebstrap", "--quiet", "--variant=minbase", "--format=directory",
            f"--include={','.join(PACKAGES)}", "--dpkgopt=path-exclude=/usr/share/man/*",
            *source(suite, made.parent), suite, partial, mirror(suite),
        )  # fmt: skip
        whole = made.with_suffix(".new")
        tree.run("tar", "-C", partial, "-c", ".", "-I", "zstd -3 -T0", "-f", whole)
        whole.rename(made)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def mirror(suite: str) -> str:
    """Return where a suite's packages are."""
    return UBUNTU if suite == "noble" else tree.debian_mirror()


def source(suite: str, folder: Path) -> tuple[str, ...]:
    """Return the words that let mmdebstrap check the suite's signatures."""
    if suite != "noble":
        return ()
    address, sha256 = UBUNTU_KEYS
    with urllib.request.urlopen(address, timeout=60) as answer:
        package = answer.read()
    assert hashlib.sha256(package).hexdigest() == sha256
    (folder / "ubuntu-keyring.deb").write_bytes(package)
    keys = folder / "ubuntu-keyring"
    tree.run("dpkg-deb", "--extract", folder / "ubuntu-keyring.deb", keys)
    return (f"--keyring={keys}/usr/share/keyrings/ubuntu-archive-keyring.gpg",)


def settle(root: Path) -> None:
    """Have the machine ask for an address and run its user data."""
    for name, text in SETTINGS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    tree.in_tree(
        root, "systemctl", "--quiet", "enable", "systemd-networkd.service", "user-data.service"
    )
