"""The machine's file tree: a plain Debian as the cloud has it, provisioned as Packer does it.

The plain Debian is kept as an archive in ~/.cache/parallelize-tests, so
only the first run waits for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.image.harness.network import HOST

REPOSITORY = Path(__file__).parents[3]
SUITE = "trixie"
"""Debian 13, the template's default. Older systemds than 254 do not know what the units need."""

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parallelize-tests"

CLOUD_PACKAGES = (
    "systemd-sysv", "udev", "dbus", "iproute2", "initramfs-tools", "lz4", "linux-image-cloud-amd64",
    "openssh-server", "sudo",
)  # fmt: skip
"""What Debian's own cloud image brings along, as far as these tests need it."""

BASE_SETTINGS = {
    # What cloud-init would set up at the first boot.
    "etc/systemd/network/80-dhcp.network": (
        "[Match]\nName=en* eth* host0\n\n"
        "[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n\n"
        "[DHCPv4]\nUseHostname=no\n"
    ),
    # Emulated processors unpack slowly: the initial file system has what QEMU's disk needs.
    "etc/initramfs-tools/conf.d/qemu.conf": "MODULES=list\nCOMPRESS=lz4\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}

EXTRA_PACKAGES = "tree"
"""Stands for the Debian packages that an image's owner adds."""

STAGE = "tmp/parallelize-image"
PACKAGES_STEP = "10-packages.sh"
PACKAGES_SCRIPTS = (PACKAGES_STEP, "distribution.sh")

CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
    "HOME": "/root",
}
"""Nothing of the user who runs the tests gets into the tree."""


def provisioned(folder: Path) -> Path:
    """Unpack a plain Debian into `folder`, make a worker of it, and return the tree.

    `folder` is the one that all processes of the test session share.
    """
    tree = folder / "tree"
    tree.mkdir()
    run("tar", "--zstd", "-xf", base_archive(), "-C", tree)
    stage = tree / STAGE
    fill_stage(stage, built_wheel(folder))
    later = sorted(path.name for path in (stage / "provision").glob("[2-9]*.sh"))
    (folder / "provision.log").write_text(provision(tree, *later), encoding="utf-8")
    shutil.rmtree(stage)
    return tree


def base_archive() -> Path:
    """Return the archive of the plain Debian, with the image's packages; make it if need be."""
    scripts = [REPOSITORY / "packer" / "provision" / name for name in PACKAGES_SCRIPTS]
    steps = [script.read_bytes() for script in scripts]
    recipe = repr((SUITE, CLOUD_PACKAGES, EXTRA_PACKAGES, BASE_SETTINGS, steps)).encode()
    archive = CACHE / f"base-{SUITE}-{hashlib.sha256(recipe).hexdigest()[:12]}.tar.zst"
    with only_one(archive):
        if not archive.exists():
            make_base(archive)
    return archive


def make_base(archive: Path) -> None:
    """Bootstrap Debian, with the first step of the provisioning, which takes the longest."""
    tree = archive.with_suffix(".partial")
    shutil.rmtree(tree, ignore_errors=True)
    include = "--include=" + ",".join(CLOUD_PACKAGES)
    run("mmdebstrap", "--quiet", "--variant=minbase", "--format=directory", include,
        "--dpkgopt=path-exclude=/usr/share/man/*", SUITE, tree, debian_mirror())  # fmt: skip
    try:
        shutil.copytree(REPOSITORY / "packer" / "provision", tree / STAGE / "provision")
        shutil.copy("/etc/resolv.conf", tree / "etc" / "resolv.conf")
        provision(tree, PACKAGES_STEP)
        shutil.rmtree(tree / STAGE)
        settle_base(tree)
        whole = archive.with_suffix(".new")
        run("tar", "-C", tree, "-c", ".", "-I", "zstd -3 -T0", "-f", whole)
        whole.rename(archive)
    finally:
        shutil.rmtree(tree)


def settle_base(tree: Path) -> None:
    """Have the machine ask for an address, and start no SSH server, which has no host keys."""
    for name, text in BASE_SETTINGS.items():
        (tree / name).write_text(text, encoding="utf-8")
    in_tree(tree, "systemctl", "--quiet", "enable", "systemd-networkd.service")
    in_tree(tree, "systemctl", "--quiet", "disable", "ssh.service")
    in_tree(tree, "update-initramfs", "-u")


def fill_stage(stage: Path, wheel: Path) -> None:
    """Put there what Packer's file provisioner uploads, and the wheels that an index would give."""
    shutil.copytree(REPOSITORY / "packer" / "provision", stage / "provision")
    shutil.copytree(REPOSITORY / "systemd", stage / "systemd")
    shutil.copy(REPOSITORY / "packer" / "requirements.txt", stage)
    shutil.copy(REPOSITORY / "docs" / "image.md", stage)
    shutil.copytree(wheelhouse(python_version(stage.parents[1])), stage / "wheels")
    shutil.copy(wheel, stage)


def built_wheel(folder: Path) -> Path:
    """Return the agent's wheel, built once for a test session as `image build` does it."""
    place = folder / "dist"
    with only_one(place):
        if not place.exists():
            partial = folder / "dist.partial"
            run(sys.executable, "-m", "build", "--wheel", "--outdir", partial, REPOSITORY)
            partial.rename(place)
    (wheel,) = place.glob("parallelize-*.whl")
    return wheel


def prepare_for_packer(tree: Path, public_key: str, address: str) -> None:
    """Do what cloud-init does on an instance: a user with a key and all rights, host keys.

    The machine has no way out, so the wheels of the index are inside and apt has no sources.
    """
    in_tree(tree, "useradd", "--create-home", "--shell", "/bin/bash", "admin")
    (tree / "etc/sudoers.d/admin").write_text("admin ALL=(ALL) NOPASSWD:ALL\n")
    (tree / "etc/systemd/network/10-fixed.network").write_text(
        f"[Match]\nName=host0\n\n[Network]\nAddress={address}/24\nGateway={HOST}\n"
    )
    shutil.copytree(wheelhouse(python_version(tree)), tree / "srv/wheels")
    (tree / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /srv/wheels\n")
    for sources in (tree / "etc/apt").glob("sources.list*"):
        shutil.rmtree(sources) if sources.is_dir() else sources.unlink()
    (tree / "home/admin/.ssh").mkdir(mode=0o700)
    (tree / "home/admin/.ssh/authorized_keys").write_text(public_key)
    in_tree(tree, "chown", "-R", "admin:", "/home/admin/.ssh")
    in_tree(tree, "ssh-keygen", "-A")
    in_tree(tree, "systemctl", "--quiet", "enable", "ssh.service")


def answers(address: str, port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((address, port)) == 0


def provision(tree: Path, *steps: str) -> str:
    """Run steps of the very script that Packer runs, and return what they printed."""
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"/{STAGE}/wheels"}
    extras = {"EXTRA_PACKAGES": EXTRA_PACKAGES}
    return in_tree(tree, "sh", f"/{STAGE}/provision/all.sh", *steps, **offline, **extras)


def in_tree(tree: Path, *command: str, **environ: str) -> str:
    """Run a command inside the tree; its mounts and processes end with it."""
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={tree}/proc")
    return run(*alone, "chroot", tree, *command, environ={**CLEAN_ENVIRONMENT, **environ})


_IN_COPY = f"""
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/copy
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" none /mnt/copy
mount -t proc none /mnt/copy/proc
mkdir -p /mnt/copy/{STAGE}
mkdir /mnt/copy/{STAGE}/wheels
mount --bind "$4" /mnt/copy/{STAGE}/wheels
cp -r "$2/packer/provision" "$2/packer/requirements.txt" "$2/systemd" "$2/docs/image.md" \\
    /mnt/copy/{STAGE}
exec chroot /mnt/copy /bin/sh -c "$3"
"""


def in_copy(tree: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a copy of the tree, with the stage filled; the copy ends with it.

    Steps that install Python packages find the agent's own, and no others.
    """
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"/{STAGE}/wheels"}
    wheels = wheelhouse(python_version(tree))
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
    return subprocess.run(
        [*alone, "sh", "-eu", "-c", _IN_COPY, "sh", tree, REPOSITORY, script, wheels],
        env={**CLEAN_ENVIRONMENT, **offline},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def python_version(tree: Path) -> str:
    """Return the version of the tree's Python, such as "3.13"."""
    return (tree / "usr" / "bin" / "python3").readlink().name.removeprefix("python")


def wheelhouse(python: str) -> Path:
    """Return a folder with the pinned wheels for a version of Python; fetch them if need be."""
    requirements = REPOSITORY / "packer" / "requirements.txt"
    recipe = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"wheels-{python}-{recipe}"
    with only_one(folder):
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            run(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes",
                "--only-binary", ":all:", "--python-version", python,
                "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_17_x86_64",
                "--platform", "manylinux2014_x86_64", "--dest", partial,
                "--requirement", requirements)  # fmt: skip
            partial.rename(folder)
    return folder


def debian_mirror() -> str:
    """Return the mirror that this machine's own apt uses."""
    sources = Path("/etc/apt")
    for path in [*sources.glob("sources.list.d/*.sources"), *sources.glob("sources.list")]:
        uris = re.findall(r"https?://\S+/debian/?(?=\s)", path.read_text(encoding="utf-8") + "\n")
        if uris:
            return str(uris[0])
    raise RuntimeError("no Debian mirror in /etc/apt; the base tree needs one")


@contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Let one process at a time make `target`, which lies in the cache."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{target}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command: str | Path, environ: dict[str, str] | None = None) -> str:
    """Run a command, return what it printed; raise with all of that if it fails."""
    answer = subprocess.run(
        command,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if answer.returncode:
        words = " ".join(str(word) for word in command)
        raise RuntimeError(f"{words} exited with {answer.returncode}:\n{answer.stdout}")
    return answer.stdout
