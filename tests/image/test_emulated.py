"""A worker on a machine of its own, with Debian's kernel: memory runs out there for real."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.image.harness import needs, qemu
from tests.image.harness.machine import EMULATED_BOOT_SECONDS, environment, wait_for_power_off
from tests.image.harness.network import private_network
from tests.image.harness.services import bench, shell
from tests.image.harness.tree import only_one

from parallelize_core.result import Cause, Result
from parallelize_core.run import Limits

MEBIBYTE = 1024**2
LIMIT = 200 * MEBIBYTE
MODEST = 60 * MEBIBYTE

HOLD = "import sys; held = [b'x' * 2**20 for _ in range(int(sys.argv[1]))]"
EATER = "000.txt"
COMMAND = shell(
    f"""case $1 in */{EATER}) size=100000;; *) size={MODEST // MEBIBYTE};; esac
    exec python3 -c "{HOLD}" $size"""
)
"""The first job wants more memory than there is, the others hold a modest piece of it."""

QUICKER = tuple(
    f"systemd.mask={unit}"
    for unit in ("getty@tty1.service", "serial-getty@ttyS0.service", "systemd-binfmt.service")
)
"""Nobody logs in to these machines; an emulated processor has better things to do."""

every_boot = pytest.mark.skipif(
    os.environ.get("IMAGE_TESTS") != "all",
    reason="one emulated boot is enough for a quick answer: IMAGE_TESTS=all for both",
)


@dataclass(frozen=True)
class Ended:
    """A machine that has ended, and the run that it worked on; kept in a folder."""

    console: str
    results: dict[str, Result]

    def write(self, folder: Path) -> None:
        """Keep it for the other processes of the test session."""
        for number, result in enumerate(self.results.values()):
            (folder / f"{number}.result").write_bytes(result.encode())
        (folder / "ended").write_text(self.console, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Ended:
        """Read what was kept."""
        results = [Result.decode(path.read_bytes()) for path in folder.glob("*.result")]
        console = (folder / "ended").read_text(encoding="utf-8")
        return cls(console, {result.key: result for result in results})


@pytest.fixture(scope="session")
def worker_disk(worker_tree: Path, shared_folder: Path) -> Path:
    """The tree on a disk that a machine can boot from."""
    if reason := needs.missing(needs.FOR_MACHINES):
        pytest.skip(reason)
    disk = shared_folder / "disk.img"
    with only_one(disk):
        return disk if disk.exists() else qemu.make_disk(worker_tree, disk)


@pytest.fixture(
    scope="module",
    params=[LIMIT, pytest.param(None, marks=every_boot)],
    ids=["each job limited", "the machine the only limit"],
)
def ended(
    request: pytest.FixtureRequest, worker_disk: Path, worker_tree: Path, shared_folder: Path
) -> Ended:
    """Boot one machine for several tests, and wait for its end."""
    folder = shared_folder / f"emulated-{request.param}"
    with only_one(folder):
        if not (folder / "ended").exists():
            folder.mkdir(exist_ok=True)
            boot(request.param, worker_disk, worker_tree, folder).write(folder)
    return Ended.read(folder)


def boot(memory_bytes: int | None, disk: Path, tree: Path, folder: Path) -> Ended:
    """Boot a machine from a disk, with a run for it, and return when it is off."""
    with private_network(folder), bench() as services, qemu.machines() as started:
        limits = Limits(max_attempts=1, memory_bytes=memory_bytes)
        layout = services.start_run("memory", COMMAND, inputs=3, limits=limits, lease_seconds=60)
        words = (*environment(services.environment), *QUICKER)
        started.append(qemu.VirtualMachine(disk, tree, folder, words))
        console = wait_for_power_off(started[0], EMULATED_BOOT_SECONDS)
        return Ended(console, services.results(layout))


def test_the_machine_switches_itself_off(ended: Ended) -> None:
    assert "parallelize: the agent has ended (success); this machine powers off" in ended.console
    assert "reboot: Power down" in ended.console


def test_a_job_that_eats_memory_fails_for_that_reason(ended: Ended) -> None:
    assert ended.results[EATER].status == "failed"
    assert ended.results[EATER].cause is Cause.MEMORY


def test_the_other_jobs_are_done_all_the_same(ended: Ended) -> None:
    others = [result for key, result in ended.results.items() if key != EATER]
    assert [result.status for result in others] == ["succeeded", "succeeded"]


def test_the_agent_lives_on(ended: Ended) -> None:
    starts = re.findall(r"parallelize-agent\[\d+\]: .*\"event\": \"starting\"", ended.console)
    assert len(starts) == 1
    assert "parallelize-agent.service: Failed" not in ended.console


def test_the_peak_is_the_jobs_own(ended: Ended) -> None:
    peaks = [r.usage.peak_memory_bytes for key, r in ended.results.items() if key != EATER]
    assert all(MODEST < peak < MODEST + 40 * MEBIBYTE for peak in peaks), peaks
