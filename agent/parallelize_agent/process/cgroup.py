"""One cgroup per job, below that of the agent's unit, if systemd has delegated it.

    parallelize-agent.service/      made and delegated by systemd
        agent/                      this process; its memory and its share of the CPU are protected
        job-1/, job-2/, ...         one job each: limited, measured and killed as a whole

https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CONTROLLERS = frozenset({"cpu", "memory", "pids"})

AGENT_CPU_WEIGHT = 1000
"""Ten times a job's: renewing leases must not wait for commands. The default is 100."""

AGENT_MEMORY_BYTES = 256 * 1024**2
"""Memory of the agent that is never reclaimed for its jobs; the unit protects as much."""

JOB_OOM_SCORE = 500
"""Of all processes on the machine, those of jobs are the first to go when memory runs out."""

OCCUPYING = ("anon", "shmem", "slab_unreclaimable", "kernel_stack", "pagetables")
"""The parts of memory.stat that cannot be reclaimed while a job's processes live."""

REMOVAL_SECONDS = 10
"""How long the kernel gets to reap killed processes; one that hangs in I/O takes longer."""

_OOM_SCORE_FILE = "/proc/self/oom_score_adj"

_ENTER = f'echo {JOB_OOM_SCORE} >{_OOM_SCORE_FILE}; echo 0 >"$0" && exec "$@"'


class JobCgroup:
    """The cgroup of one job, from `JobCgroups.create` until `remove`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that start it inside; they precede all others.

        The shell moves itself in, then becomes the command, so not even its first child is outside.
        """
        return ("/bin/sh", "-c", _ENTER, str(self._procs))

    @property
    def entries(self) -> tuple[tuple[str, str], ...]:
        """What a process writes to which files to move inside."""
        return (_OOM_SCORE_FILE, str(JOB_OOM_SCORE)), (str(self._procs), "0")

    @property
    def _procs(self) -> Path:
        return self.folder / "cgroup.procs"

    @property
    def limits_memory(self) -> bool:
        """Whether the kernel limits its memory; without that controller, the agent must."""
        return (self.folder / "memory.max").exists()

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most memory that the job has used at once; None if the kernel does not count it."""
        text = self._read("memory.peak")
        return int(text) if text else None

    @property
    def occupied_bytes(self) -> int | None:
        """The job's memory now, without the kernel's page cache for it; None if unknown.

        The kernel reclaims that cache before it kills anything.
        """
        counts = self._counts("memory.stat")
        return sum(counts.get(name, 0) for name in OCCUPYING) if counts else None

    def peak_of(self, seen_bytes: int) -> int:
        """Return the job's peak; `seen_bytes` is what was observed, which may be less.

        The kernel's own figure includes cached files, so it may be more: those that are still
        cached at the end are subtracted. If it killed a process, it had reclaimed them before.
        """
        counted = self.peak_memory_bytes
        if counted is None:
            return seen_bytes
        if self.out_of_memory:
            return counted
        return min(counted, max(seen_bytes, counted - self._kept_bytes))

    @property
    def _kept_bytes(self) -> int:
        counts = self._counts("memory.stat")
        return counts.get("file", 0) - counts.get("shmem", 0)

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of all processes of the job, including those that have ended."""
        return self._counts("cpu.stat").get("usage_usec", 0) / 1_000_000

    @property
    def out_of_memory(self) -> bool:
        """Whether a process of the job was killed because memory ran out."""
        return self._counts("memory.events").get("oom_kill", 0) > 0

    def kill(self) -> None:
        """Kill every process of the job at once, however deep and however detached."""
        with suppress(FileNotFoundError):
            (self.folder / "cgroup.kill").write_text("1", encoding="ascii")

    def remove(self) -> None:
        """Kill what is left and remove the cgroup; raise TimeoutError if a process survives."""
        self.kill()
        deadline = time.monotonic() + REMOVAL_SECONDS
        while self.folder.exists():
            try:
                self.folder.rmdir()
            except OSError as error:  # EBUSY until the last process is reaped
                if time.monotonic() > deadline:
                    raise TimeoutError(f"processes in {self.folder} do not die") from error
                time.sleep(0.005)

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    def _counts(self, name: str) -> dict[str, int]:
        pairs = (line.split() for line in self._read(name).splitlines())
        return {key: int(value) for key, value in pairs}


class JobCgroups:
    """A delegated cgroup in which each job gets its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers: Iterator[int] = itertools.count(1)

    @classmethod
    def claim(
        cls,
        root: Path = Path("/sys/fs/cgroup"),
        own: Path = Path("/proc/self/cgroup"),
    ) -> JobCgroups | None:
        """Return this process's cgroup, ready for jobs; None if it is not delegated to us.

        The process itself moves into a cgroup next to its jobs: the kernel limits the children of
        a cgroup only if it has no processes of its own.
        """
        folder = own_folder(root, own.read_text(encoding="ascii"))
        if folder is None or not is_delegated(folder):
            return None
        groups = cls(folder)
        try:
            groups.prepare()
        except OSError:  # shared with others after all, or the kernel is too old
            return None
        return groups

    def prepare(self) -> None:
        """Move this process aside, protect it, and enable the controllers; OSError if refused."""
        agent = self.folder / "agent"
        agent.mkdir(exist_ok=True)
        (agent / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        available = (self.folder / "cgroup.controllers").read_text(encoding="ascii").split()
        wanted = " ".join(f"+{name}" for name in sorted(CONTROLLERS.intersection(available)))
        (self.folder / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
        _set_if_there(agent / "cpu.weight", AGENT_CPU_WEIGHT)
        _set_if_there(agent / "memory.min", AGENT_MEMORY_BYTES)

    def create(self, memory_bytes: int | None = None) -> JobCgroup:
        """Create the cgroup of a job that may use `memory_bytes` in total; None for no limit."""
        folder = self.folder / f"job-{next(self._numbers)}"
        folder.mkdir()
        # A command without one of its processes gives wrong results, so all go or none.
        _set_if_there(folder / "memory.oom.group", 1)
        if memory_bytes is not None:
            _set_if_there(folder / "memory.max", memory_bytes)
            _set_if_there(folder / "memory.swap.max", 0)
        return JobCgroup(folder)


def own_folder(root: Path, memberships: str) -> Path | None:
    """Return the folder of the cgroup v2 in /proc/self/cgroup's lines, if there is one."""
    for line in memberships.splitlines():
        if line.startswith("0::/"):
            folder = root / line.removeprefix("0::/")
            return folder if (folder / "cgroup.procs").exists() else None
    return None


def is_delegated(folder: Path) -> bool:
    """Whether a cgroup is ours alone: it belongs to our user, not root, and holds only us."""
    if folder.stat().st_uid != os.geteuid() or os.geteuid() == 0:
        return False
    return (folder / "cgroup.procs").read_text(encoding="ascii").split() == [str(os.getpid())]


def _set_if_there(path: Path, value: int) -> None:
    if path.exists():
        path.write_text(str(value), encoding="ascii")
