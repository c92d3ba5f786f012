"""A project on a memory file system, the programs that are measured, and what a run of one took."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.small_cloud.process import CloudProcess

MEMORY = Path("/dev/shm")
BUCKET = "bench"
MIB = 1024 * 1024
LOOK_MILLISECONDS = 10


@dataclass(frozen=True)
class Took:
    """What a process took: seconds by the clock and of CPU with its children, bytes at most."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Scene:
    """A folder with a project, and the cloud that its programs speak to."""

    cloud: CloudProcess
    name: str
    root: Path
    core: int | None

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self.root / "project"

    @property
    def inputs(self) -> Path:
        """The folder of its inputs."""
        return self.project / "inputs"

    @property
    def environ(self) -> dict[str, str]:
        """The variables for any program: the cloud, a home of its own."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, **self.cloud.environ, "HOME": str(self.root / "home")}

    def fill(self, count: int, size: int) -> None:
        """Make the inputs: `count` files of `size` bytes that nothing can shrink."""
        self.inputs.mkdir()
        for number in range(count):
            with (self.inputs / f"{number:07}.bin").open("wb") as file:
                for start in range(0, size, MIB):
                    file.write(os.urandom(min(MIB, size - start)))

    def run(self, *command: str | Path) -> Took:
        """Run a program in the project's folder, on the core of clients; SystemExit if it fails."""
        began = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [str(word) for word in command], cwd=self.project, env=self.environ,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                preexec_fn=self._pin,  # noqa: PLW1509 - of a small process, once
            )  # fmt: skip
            peak = _watch(process.pid)
            seconds = time.perf_counter() - began
            _, status, used = os.wait4(process.pid, 0)
            if status:
                said.seek(0)
                raise SystemExit(f"{command}: {said.read()[-500:].decode(errors='replace')}")
        return Took(seconds, used.ru_utime + used.ru_stime, peak)

    def _pin(self) -> None:
        if self.core is not None:
            os.sched_setaffinity(0, {self.core})


def _watch(pid: int) -> int:
    """Wait for the end of a process; return the most memory that it was seen with, in bytes.

    What wait4 says of memory counts this process, too, of which the other was forked.
    """
    peak = 0
    descriptor = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while not waiting.poll(LOOK_MILLISECONDS):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            peak = max(peak, 1024 * int(found[1]) if found else 0)
    finally:
        os.close(descriptor)
    return peak


@contextmanager
def scene(cloud: CloudProcess, run: str, core: int | None) -> Iterator[Scene]:
    """Make a project whose run is called `run`, and take it away."""
    root = Path(tempfile.mkdtemp(prefix="parallelize-bench-", dir=MEMORY))
    try:
        made = Scene(cloud, run, root, core)
        (made.project / "env").mkdir(parents=True)
        job = made.project / "env" / "job.sh"
        # With the same script, a run would look for what it can copy from those before it.
        job.write_text(f'#!/bin/sh\n# {run}\ncp "$1" out.bin; echo out.bin\n')
        job.chmod(0o755)
        (made.project / "parallelize.toml").write_text(
            f'[aws]\nbucket = "{BUCKET}"\n[run]\nname = "{run}"\ncommand = "./job.sh"\n'
            'env = "env/"\ninputs = "inputs/"\n'
        )
        cloud.put(BUCKET, "warm", b"")
        yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)
