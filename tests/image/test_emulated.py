"""A worker on a machine of its own, with Debian's kernel: memory runs out there for real."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.image.harness import needs, qemu
from tests.image.harness.machine import EMULATED_BOOT_SECONDS, environment, wait_for_power_off
from tests.image.harness.network import private_network
from tests.image.harness.services import bench, pull_there, shell
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

MODELS = base64.b64encode(
    b"".join(
        b"f+ /run/block/nvme%dn1/device/model 0444 root root - Amazon EC2 NVMe Instance Storage\n"
        % n
        for n in range(2)
    )
).decode()
INSTANCE_STORE = (
    f"systemd.set_credential_binary=tmpfiles.extra:{MODELS}",
    "systemd.setenv=PARALLELIZE_BLOCK=/run/block",
)
"""QEMU's NVMe disks have a model of its own, so what EC2's are called is said in another place."""

every_boot = pytest.mark.skipif(
    os.environ.get("IMAGE_TESTS") != "all",
    reason="one emulated boot is enough for a quick answer: IMAGE_TESTS=all for both",
)


@dataclass(frozen=True)
class Ended:
    """A machine that has ended, and the run that it worked on; kept in a folder."""

    console: str
    results: dict[str, Result]
    disk_total_bytes: int
    """Of the file system that jobs worked on."""

    def write(self, folder: Path) -> None:
        """Keep it for the other processes of the test session."""
        for number, result in enumerate(self.results.values()):
            (folder / f"{number}.result").write_bytes(result.encode())
        (folder / "disk").write_text(str(self.disk_total_bytes), encoding="ascii")
        (folder / "ended").write_text(self.console, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Ended:
        """Read what was kept."""
        results = [Result.decode(path.read_bytes()) for path in folder.glob("*.result")]
        console = (folder / "ended").read_text(encoding="utf-8")
        disk = int((folder / "disk").read_text(encoding="ascii"))
        return cls(console, {result.key: result for result in results}, disk)


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
        words = (*environment(services.environment), *QUICKER, *INSTANCE_STORE)
        store = qemu.make_empty_disks(folder, 2)
        started.append(qemu.VirtualMachine(disk, tree, folder, words, store))
        console = wait_for_power_off(started[0], EMULATED_BOOT_SECONDS)
        told = services.heartbeat(layout)
        disk_bytes = told.peaks.disk_total_bytes if told and told.peaks else 0
        return Ended(console, services.results(layout), disk_bytes)


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


def test_the_agent_works_on_both_nvme_disks_as_one(ended: Ended) -> None:
    assert "the agent works on instance storage: /dev/nvme0n1 /dev/nvme1n1" in ended.console
    assert re.search(r"EXT4-fs \(dm-0\): mounted filesystem", ended.console)
    # Without what ext4 needs for itself; each alone, and the root volume, has less.
    assert ended.disk_total_bytes > 1.8 * qemu.EMPTY_DISK_BYTES


def test_the_peak_is_the_jobs_own(ended: Ended) -> None:
    peaks = [r.usage.peak_memory_bytes for key, r in ended.results.items() if key != EATER]
    assert all(MODEST < peak < MODEST + 40 * MEBIBYTE for peak in peaks), peaks


@every_boot
def test_a_machine_pulls_the_image_of_its_run_from_a_registry(
    worker_disk: Path, worker_tree: Path, tmp_path: Path
) -> None:
    with private_network(tmp_path), bench() as services, qemu.machines() as started:

        def boot(*words: str) -> qemu.VirtualMachine:
            told = (*environment(services.environment), *QUICKER, *words)
            started.append(qemu.VirtualMachine(worker_disk, worker_tree, tmp_path, told))
            return started[-1]

        pulled = pull_there(boot, services, tmp_path, EMULATED_BOOT_SECONDS, lease_seconds=60)
        assert pulled.ends == {("succeeded", pulled.digest, True)}
        assert pulled.fetched == 1
