"""The machine's file tree: a plain Debian as the cloud has it, provisioned as Packer does it.

The plain Debian is kept as an archive in ~/.cache/parallelize-tests (PARALLELIZE_TEST_CACHE), so
only the first run waits for it. PARALLELIZE_IMAGE_SUITE chooses another suite than trixie.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
SUITE = os.environ.get("PARALLELIZE_IMAGE_SUITE", "trixie")
CACHE = Path(os.environ.get("PARALLELIZE_TEST_CACHE", Path.home() / ".cache" / "parallelize-tests"))

CLOUD_PACKAGES = (
    "systemd-sysv", "udev", "dbus", "iproute2", "initramfs-tools", "linux-image-cloud-amd64",
    "openssh-server", "sudo",
)  # fmt: skip
"""What Debian's own cloud image brings along, as far as these tests need it."""

BASE_SETTINGS = {
    "etc/systemd/network/80-dhcp.network": (
        "[Match]\nName=en* eth* host0\n\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n"
    ),
}
"""What cloud-init would set up at the first boot."""

EXTRA_PACKAGES = "tree"
"""Stands for the Debian packages that an image's owner adds."""

STAGE = "tmp/parallelize-image"
PACKAGES_STEP = "10-packages.sh"


def provisioned(folder: Path) -> Path:
    """Unpack a plain Debian into `folder`, make a worker of it, and return the tree."""
    tree = folder / "tree"
    tree.mkdir()
    run("tar", "--zstd", "-xf", base_archive(), "-C", tree)
    stage = tree / STAGE
    fill_stage(stage)
    later = sorted(path.name for path in (stage / "provision").glob("[2-9]*.sh"))
    (folder / "provision.log").write_text(provision(tree, *later), encoding="utf-8")
    shutil.rmtree(stage)
    return tree


def base_archive() -> Path:
    """Return the archive of the plain Debian, with the image's packages; make it if need be."""
    step = (REPOSITORY / "packer" / "provision" / PACKAGES_STEP).read_bytes()
    recipe = repr((SUITE, CLOUD_PACKAGES, EXTRA_PACKAGES, BASE_SETTINGS, step)).encode()
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
        run("tar", "-C", tree, "-c", ".", "-I", "zstd -3 -T0", "-f", archive)
    finally:
        shutil.rmtree(tree)


def settle_base(tree: Path) -> None:
    """Have the machine ask for an address, and start no SSH server, which has no host keys."""
    for name, text in BASE_SETTINGS.items():
        (tree / name).write_text(text, encoding="utf-8")
    in_tree(tree, "systemctl", "--quiet", "enable", "systemd-networkd.service")
    in_tree(tree, "systemctl", "--quiet", "disable", "ssh.service")


def fill_stage(stage: Path) -> None:
    """Put there what Packer's file provisioner uploads, and the wheels that an index would give."""
    shutil.copytree(REPOSITORY / "packer" / "provision", stage / "provision")
    shutil.copytree(REPOSITORY / "systemd", stage / "systemd")
    shutil.copy(REPOSITORY / "packer" / "requirements.txt", stage)
    shutil.copy(REPOSITORY / "docs" / "image.md", stage)
    shutil.copytree(wheelhouse(python_version(stage.parents[1])), stage / "wheels")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", stage, REPOSITORY)


def provision(tree: Path, *steps: str) -> str:
    """Run steps of the very script that Packer runs, and return what they printed."""
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"/{STAGE}/wheels"}
    extras = {"EXTRA_PACKAGES": EXTRA_PACKAGES}
    return in_tree(tree, "sh", f"/{STAGE}/provision/all.sh", *steps, **offline, **extras)


def in_tree(tree: Path, *command: str, **environ: str) -> str:
    """Run a command inside the tree; its mounts and processes end with it."""
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={tree}/proc")
    clean = {
        "PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/root",
    }
    return run(*alone, "chroot", tree, *command, environ={**clean, **environ})


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
