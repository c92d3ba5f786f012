"""The client on other systems: what is not on Linux alone is all that it needs there."""

from __future__ import annotations

import subprocess
import sys

import pytest

ONLY_LINUX = {
    "os": ["eventfd", "eventfd_write", "pidfd_open", "memfd_create", "O_PATH", "O_TMPFILE",
           "sched_getaffinity", "sched_setaffinity", "splice", "setns", "unshare",
           "posix_fadvise", "setresuid", "EFD_CLOEXEC", "EFD_NONBLOCK"],
    "signal": ["pidfd_send_signal", "sigtimedwait", "sigwaitinfo"],
    "select": ["epoll"],
    "socket": ["AF_NETLINK", "AF_PACKET", "SO_PEERCRED"],
    "resource": ["prlimit"],
}  # fmt: skip
"""https://docs.python.org/3/library/os.html and others: "Availability: Linux"."""

AS_ON_MACOS = f"""
import importlib, pkgutil, sys
# What was built for the system that this is.
import asyncio, boto3, moto, psutil, pydantic, rich.console, subprocess, werkzeug.serving
import cyclopts, platformdirs, uuid, zoneinfo
for module, names in {ONLY_LINUX!r}.items():
    for name in names:
        vars(importlib.import_module(module)).pop(name, None)
sys.platform = "darwin"
sys.modules["parallelize_agent"] = None
sys.modules["spwd"] = sys.modules["ossaudiodev"] = None
import parallelize, parallelize_core
for package in (parallelize_core, parallelize):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if ".example." not in found.name and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
"""

AS_ON = """
import sys
from parallelize import cli
{before}
sys.platform = "{platform}"
sys.exit(cli.run({words!r}))
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_every_module_of_the_client_is_imported_without_what_only_linux_has() -> None:
    done = python(AS_ON_MACOS)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("words", [["run"], ["--help"]])
def test_on_windows_it_is_said_what_to_use(words: list[str]) -> None:
    done = python(AS_ON.format(before="", platform="win32", words=words))
    assert done.returncode == 2
    assert "does not run on Windows" in done.stderr
    assert "WSL" in done.stderr


def test_on_macos_the_local_cloud_is_said_to_need_linux() -> None:
    before = "import parallelize.operations.run"
    done = python(AS_ON.format(before=before, platform="darwin", words=["run", "--local"]))
    assert done.returncode == 2
    assert "the local cloud runs on Linux only" in done.stderr


WITH_DESCRIPTORS = """
import resource, sys
from parallelize.cli import run
resource.setrlimit(resource.RLIMIT_NOFILE, tuple(map(int, sys.argv[1:])))
run([])
print(*resource.getrlimit(resource.RLIMIT_NOFILE), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "then"), [(256, 4096, 1024), (256, 512, 512), (2048, 4096, 2048)]
)
def test_a_command_may_have_as_many_connections_on_macos_as_on_linux(
    soft: int, hard: int, then: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITH_DESCRIPTORS, f"{soft}", f"{hard}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr.split() == [f"{then}", f"{hard}"]
