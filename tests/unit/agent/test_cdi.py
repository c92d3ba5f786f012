"""What a container is given of a GPU, by the description of the machine's own tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from parallelize_agent.gpu.allotment import Gpu
from parallelize_agent.gpu.cdi import Descriptions
from parallelize_core.errors import UsageError

FIRST, SECOND = (Gpu(n, n, f"GPU-{n}", "Tesla T4") for n in range(2))


def described(*nodes: str, name: str = "GPU-0", **edits: Any) -> dict[str, Any]:
    """Return a description of one GPU, in the form that nvidia-ctk writes."""
    own = {"deviceNodes": [{"path": node} for node in nodes]}
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": name, "containerEdits": own}],
        "containerEdits": edits,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cdi"
    made.mkdir()
    return made


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """The driver's files as ldconfig leaves them on a machine."""
    made = tmp_path / "driver"
    made.mkdir()
    (made / "libcuda.so.550.1").touch()
    (made / "libcuda.so.1").symlink_to("libcuda.so.550.1")
    (made / "libcuda.so").symlink_to("libcuda.so.1")
    (made / "libother.so.2").touch()
    (made / "nvidia-smi").touch()
    (made / "nvoptix.bin").touch()
    return made


@pytest.mark.parametrize(("name", "written"), [("n.json", json.dumps), ("n.yaml", yaml.safe_dump)])
def test_nodes_are_those_of_the_jobs_gpus_and_of_all(folder: Path, name: str, written: Any) -> None:
    spec = described("/dev/nvidia0", deviceNodes=[{"path": "/dev/nvidiactl"}])
    spec["devices"] += described("/dev/nvidia1", name="1")["devices"]
    (folder / name).write_text(written(spec))
    found = Descriptions([folder])
    nodes = [place for _, place in found.of([FIRST]).nodes]
    assert nodes == ["/dev/nvidia0", "/dev/nvidiactl"]
    assert [place for _, place in found.of([FIRST, SECOND]).nodes] == [
        "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia1",
    ]  # fmt: skip


def test_libraries_have_the_names_that_they_have_on_the_machine(folder: Path, driver: Path) -> None:
    """A hook would make those in the container, and it is not run."""
    mounts = [
        {"hostPath": str(driver / name), "containerPath": f"/usr/lib/{name}"}
        for name in ("libcuda.so.550.1", "libother.so.2")
    ]
    (folder / "n.json").write_text(json.dumps(described("/dev/nvidia0", mounts=mounts)))
    edits = Descriptions([folder]).of([FIRST])
    assert [place for _, place in edits.files] == ["lib/libcuda.so.550.1", "lib/libother.so.2"]
    assert sorted(edits.links) == [
        ("libcuda.so.550.1", "lib/libcuda.so"), ("libcuda.so.550.1", "lib/libcuda.so.1"),
    ]  # fmt: skip


def test_programs_come_along_and_files_for_graphics_do_not(folder: Path, driver: Path) -> None:
    mounts = [
        {"hostPath": str(driver / "nvidia-smi"), "containerPath": "/usr/bin/nvidia-smi"},
        {"hostPath": str(driver / "nvoptix.bin"), "containerPath": "/usr/share/nvidia/nvoptix.bin"},
        {"hostPath": str(driver / "gone"), "containerPath": "/usr/bin/gone"},
    ]
    (folder / "n.json").write_text(json.dumps(described("/dev/nvidia0", mounts=mounts)))
    edits = Descriptions([folder]).of([FIRST])
    assert edits.files == ((str(driver / "nvidia-smi"), "bin/nvidia-smi"),)


def test_variables_are_given_but_those_that_say_which_gpus_are_the_jobs(folder: Path) -> None:
    spec = described("/dev/nvidia0", env=["NVIDIA_VISIBLE_DEVICES=void", "COLOUR=green"])
    (folder / "n.json").write_text(json.dumps(spec))
    environ = Descriptions([folder]).of([FIRST]).environ
    assert (environ["COLOUR"], environ["NVIDIA_VISIBLE_DEVICES"]) == ("green", "GPU-0")


def test_what_was_written_at_boot_comes_before_what_came_with_the_machine(tmp_path: Path) -> None:
    folders = [tmp_path / "etc", tmp_path / "run"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "n.json").write_text(json.dumps(described(f"/dev/nvidia{number}")))
    assert Descriptions(folders).of([FIRST]).nodes[0][1] == "/dev/nvidia1"


@pytest.mark.parametrize("text", ["", "[", "kind: 1", "- a", "kind: vendor.com/nic\ndevices: []"])
def test_a_file_that_describes_no_gpu_is_left_alone(folder: Path, text: str) -> None:
    (folder / "bad.yaml").write_text(text)
    (folder / "n.json").write_text(json.dumps(described("/dev/nvidia0")))
    assert Descriptions([folder]).of([FIRST]).nodes


def test_a_gpu_that_is_not_described_is_refused_with_what_to_do(folder: Path) -> None:
    with pytest.raises(UsageError, match="no CDI description") as raised:
        Descriptions([folder, folder / "absent"]).of([FIRST])
    assert "nvidia-ctk cdi generate" in str(raised.value.fix)
