"""A job that tries to harm the one beside it (victim.py); its output is what it managed to do."""

import errno
import json
import os
import signal
import socket
import sys
import time
from multiprocessing import shared_memory
from pathlib import Path

PLACES = ("/tmp", "/var/tmp", "/dev/shm")


def attempt(deed):
    """Return the name of the error that stops a deed, or what it brought."""
    try:
        return repr(deed())
    except OSError as error:
        return errno.errorcode[error.errno]


def names(folder):
    return [path.name for path in Path(folder).iterdir()]


def visit():
    """Connect to the victim; the worker's time limit ends this if there is none."""
    while True:
        try:
            return socket.create_connection(("127.0.0.1", 7777))
        except ConnectionRefusedError:
            time.sleep(0.05)


with visit() as connection:
    home = json.loads(connection.makefile().readline())
    pid, scratch = home["pid"], Path(home["scratch"])
    report = {
        "temporary files": {place: names(place) for place in PLACES},
        "shared memory": attempt(lambda: shared_memory.SharedMemory("victim")),
        "list": attempt(lambda: names(scratch)),
        "read": attempt(lambda: Path(home["input"]).read_bytes()),
        "write": attempt((scratch / "burglar").touch),
        "its /tmp": attempt(lambda: names(scratch / ".parallelize" / "tmp")),
        "signal": attempt(lambda: os.kill(pid, signal.SIGKILL)),
        "environment": attempt(lambda: Path(f"/proc/{pid}/environ").read_bytes()),
        "memory": attempt(lambda: Path(f"/proc/{pid}/mem").read_bytes()),
        "its view": attempt(lambda: names(Path("/proc", str(pid), "root", "tmp"))),
        "its folder": attempt(lambda: names(f"/proc/{pid}/cwd")),
        "its messages": attempt(lambda: Path(f"/proc/{pid}/fd/1").write_text("x")),
    }

Path("burglar.json").write_text(json.dumps(report))
sys.stdout.write("burglar.json\n")
