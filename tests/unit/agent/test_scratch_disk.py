"""What the image does with instance-store disks: its script, and programs that only say a name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "systemd" / "scratch"
INSTANCE_STORE = "Amazon EC2 NVMe Instance Storage"
EBS = "Amazon Elastic Block Store"
PROGRAMS = ("dmsetup", "mkfs.ext4", "mkdir", "mount", "rmdir")

Run = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the script on a machine with disks of these models; return what it has called."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()

    def program(name: str, does: str) -> None:
        file = programs / name
        file.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        file.chmod(0o755)

    for name in PROGRAMS:
        program(name, f'echo {name} "$@" >>{calls}')

    def run_script(
        *models: str, mounted: bool = False, sectors: int = 1000_000, without: str = ""
    ) -> list[str]:
        for number, model in enumerate(models):
            folder = tmp_path / "block" / f"nvme{number}n1" / "device"
            folder.mkdir(parents=True)
            # The kernel fills the name up with blanks.
            (folder / "model").write_text(f"{model:<40}\n", encoding="ascii")
        program("mountpoint", f"exit {0 if mounted else 1}")
        # Each disk has a few sectors more than the one before.
        program("blockdev", f"n=${{2##*nvme}}; echo $(({sectors} + 1000 * ${{n%n1}}))")
        (programs / without).unlink() if without else None
        for name in ("sh", "grep"):
            (programs / name).symlink_to(f"/bin/{name}")
        environment = {"PATH": str(programs), "PARALLELIZE_BLOCK": str(tmp_path / "block")}
        subprocess.run(["/bin/sh", str(SCRIPT)], env=environment, check=True)
        return calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []

    return run_script


def test_a_machine_without_instance_storage_keeps_its_root_volume(run: Run) -> None:
    assert run(EBS, EBS) == []


def test_the_agents_folder_is_on_the_instance_store_disk_if_there_is_one(run: Run) -> None:
    calls = run(EBS, INSTANCE_STORE)
    made = next(call for call in calls if call.startswith("mkfs.ext4"))
    assert made.endswith(" /dev/nvme1n1")
    assert any(
        call.startswith("mount ") and call.endswith(" /dev/nvme1n1 /var/lib/parallelize")
        for call in calls
    )
    assert not any(call.startswith("dmsetup") for call in calls)


def test_several_disks_are_striped_as_far_as_the_smallest_goes(run: Run) -> None:
    calls = run(EBS, INSTANCE_STORE, INSTANCE_STORE)
    whole = (1000_000 + 1000) // 512 * 512
    assert calls[0] == (
        f"dmsetup create parallelize --table 0 {2 * whole} striped 2 512"
        " /dev/nvme1n1 0 /dev/nvme2n1 0"
    )
    assert any(
        call.startswith("mount ") and call.endswith(" /dev/mapper/parallelize /var/lib/parallelize")
        for call in calls
    )
    assert not any("mkfs" in call and "nvme" in call for call in calls)


def test_a_root_volume_is_never_formatted(run: Run) -> None:
    assert not any("/dev/nvme0n1" in call for call in run(EBS, INSTANCE_STORE, INSTANCE_STORE))


def test_what_is_mounted_there_already_is_left_alone(run: Run) -> None:
    assert run(INSTANCE_STORE, mounted=True) == []


def test_without_device_mapper_one_disk_of_several_is_used(run: Run) -> None:
    calls = run(INSTANCE_STORE, INSTANCE_STORE, without="dmsetup")
    assert any(call.startswith("mount ") and "/dev/nvme0n1" in call for call in calls)


def test_the_agent_starts_after_its_disk_is_there_and_without_it_all_the_same() -> None:
    unit = (SCRIPT.parent / "parallelize-agent.service").read_text(encoding="utf-8")
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    assert "parallelize-scratch.service" in lines["After"]
    assert "parallelize-scratch.service" in lines["Wants"]
    assert "parallelize-scratch.service" not in lines["Requires"]
