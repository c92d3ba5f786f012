"""A job that tries to get out, run inside the machine; its output is what it managed to do."""

import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

SCRATCH = Path.cwd()
AGENT = os.getppid()
PTRACE_ATTACH = 16
KERNEL_FOLDERS = {"/proc", "/sys"}


def attempt(deed):
    """Return the name of the error that stops a deed, or what it brought."""
    try:
        return repr(deed())
    except OSError as error:
        return errno.errorcode[error.errno]


def ask_for_credentials():
    with socket.create_connection(("169.254.169.254", 80), timeout=5):
        return "connected"


def read_the_agents_memory():
    with Path(f"/proc/{AGENT}/mem").open("rb") as memory:
        return memory.read(1)


def trace_the_agent():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, AGENT, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")


def leave_the_cgroup():
    line = Path("/proc/self/cgroup").read_text().splitlines()[-1]
    own = Path("/sys/fs/cgroup") / line.partition("::/")[2]
    (own.parent / "agent" / "cgroup.procs").write_text("0")


def writable_folders():
    found = []
    for root, folders, _ in os.walk("/"):
        folders[:] = [f for f in folders if str(Path(root, f)) not in KERNEL_FOLDERS]
        if Path(root) == SCRATCH:
            folders.clear()
        elif os.access(root, os.W_OK):
            found.append(root)
            folders.clear()
    return found


def sudo():
    command = ["sudo", "-n", "id", "-u"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


report = {
    "credentials": attempt(ask_for_credentials),
    "memory": attempt(read_the_agents_memory),
    "environment": attempt(lambda: Path(f"/proc/{AGENT}/environ").read_bytes()),
    "ptrace": attempt(trace_the_agent),
    "kill": attempt(lambda: os.kill(AGENT, signal.SIGKILL)),
    "root": attempt(lambda: os.setuid(0)),
    "agent's user": attempt(lambda: os.setuid(Path(f"/proc/{AGENT}").stat().st_uid)),
    "sudo": attempt(sudo),
    "cgroup": attempt(leave_the_cgroup),
    "others' folders": attempt(lambda: list(SCRATCH.parents[2].iterdir())),
    "switch off": attempt(lambda: Path("/run/parallelize/keep-alive").touch()),
    "writable": writable_folders(),
    "variables": sorted(os.environ),
}
Path("report.json").write_text(json.dumps(report))
sys.stdout.write("report.json\n")
