"""GPUs in a container: the job's own device nodes, and the driver's files of the machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.functional.agent.gpus import FakeGpus
from tests.functional.container.conftest import MakeBench
from tests.functional.container.images import needs_registry, shell_image

from parallelize_agent.gpu.monitor import Monitor
from parallelize_core.errors import UsageError
from parallelize_core.run import Limits, Serve

pytestmark = [
    needs_registry,
    pytest.mark.skipif(not shutil.which("cc"), reason="the stand-in has to be compiled"),
]

ONE_EACH = Limits(gpus=1, grace_seconds=0.2)


@pytest.fixture
def gpus(tmp_path: Path) -> FakeGpus:
    return FakeGpus(tmp_path / "nvml", 2)


@pytest.fixture
def cdi(tmp_path: Path) -> Path:
    """A description as nvidia-ctk writes it, of files that stand for devices and a driver."""
    made = tmp_path / "machine"
    made.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "libcuda.so.550.1", "nvidia-smi"):
        (made / name).write_text(f"#!/bin/sh\necho this is {name}\n")
        (made / name).chmod(0o755)
    (made / "libcuda.so.1").symlink_to("libcuda.so.550.1")
    mounts = {
        "libcuda.so.550.1": "/usr/lib/x86_64-linux-gnu/libcuda.so.550.1",
        "nvidia-smi": "/usr/bin/nvidia-smi",
    }
    spec = {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [
            {"name": str(n), "containerEdits": {"deviceNodes": [_node(made, f"nvidia{n}")]}}
            for n in range(2)
        ],
        "containerEdits": {
            "deviceNodes": [_node(made, "nvidiactl")],
            "mounts": [
                {"hostPath": str(made / name), "containerPath": place}
                for name, place in mounts.items()
            ],
            "hooks": [{"hookName": "createContainer", "path": str(made / "nvidia-smi")}],
        },
    }
    folder = tmp_path / "cdi"
    folder.mkdir()
    (folder / "nvidia.json").write_text(json.dumps(spec))
    return folder


def _node(folder: Path, name: str) -> dict[str, str]:
    return {"path": f"/dev/{name}", "hostPath": str(folder / name)}


LOOK = """
for node in /dev/nvidia*; do echo "$node: $(cat $node)"; done
echo "told $CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES"
"""


def seen(number: int) -> list[str]:
    """Return what the job of a GPU finds, of all GPUs that there are."""
    nodes = (f"nvidia{number}", "nvidiactl")
    found = [f"/dev/{name}: #!/bin/sh\necho this is {name}" for name in nodes]
    return "\n".join([*found, f"told GPU-{number} GPU-{number}"]).splitlines()


def test_a_job_finds_its_own_gpu_and_no_other(make: MakeBench, gpus: FakeGpus, cdi: Path) -> None:
    bench = make(LOOK, limits=ONE_EACH)
    bench.worker(gpus=gpus.monitor(), cdi_folders=[cdi]).run()
    assert bench.result("x").log.splitlines() == seen(0)


@pytest.fixture
def of_the_machine() -> Iterator[Path]:
    """A node of the machine's that looks like one for a GPU."""
    node = Path(f"/dev/nvidia-test-{os.getpid()}")
    try:
        node.touch()
    except OSError:
        pytest.skip("nothing can be made in /dev here")
    yield node
    node.unlink()


def test_no_gpu_of_the_machine_is_there_but_the_jobs_own(
    make: MakeBench, gpus: FakeGpus, cdi: Path, of_the_machine: Path
) -> None:
    bench = make("ls /dev", limits=ONE_EACH)
    bench.worker(gpus=gpus.monitor(), cdi_folders=[cdi]).run()
    found = bench.result("x").log.split()
    assert [name for name in found if "nvidia" in name] == ["nvidia0", "nvidiactl"]


def test_a_warm_command_finds_its_own_gpu_and_no_other(
    make: MakeBench, gpus: FakeGpus, cdi: Path
) -> None:
    answer = r"""job=${line#*\"job\": }; echo "{\"job\": ${job%%,*}, \"done\": true}" """
    loop = f"while read -r line; do {LOOK} {answer}; done"
    bench = make(loop, serve=Serve(), limits=ONE_EACH)
    bench.worker(gpus=gpus.monitor(), cdi_folders=[cdi]).run()
    assert bench.result("x").log.splitlines()[: len(seen(0))] == seen(0)


def test_the_drivers_files_are_found_by_their_names_and_cannot_be_written_to(
    make: MakeBench, gpus: FakeGpus, cdi: Path, tmp_path: Path
) -> None:
    """No hook is run in the container: one of them would print that it is nvidia-smi."""
    made = shell_image(tmp_path / "image", env=["LD_LIBRARY_PATH=/usr/local/cuda/lib64"])
    bench = make(
        "cat /run/driver/lib/libcuda.so.1; nvidia-smi; echo $LD_LIBRARY_PATH; "
        "(echo >>/run/driver/lib/libcuda.so.1) 2>&1; (echo >/run/driver/x) 2>&1",
        made,
        limits=ONE_EACH,
    )
    bench.worker(gpus=gpus.monitor(), cdi_folders=[cdi]).run()
    said = bench.result("x").log
    assert "echo this is libcuda.so.550.1\nthis is nvidia-smi\n" in said
    assert "/run/driver/lib:/usr/local/cuda/lib64\n" in said
    assert said.count("Read-only file system") == 2


def test_a_worker_without_a_description_of_its_gpus_takes_no_job(
    make: MakeBench, gpus: FakeGpus, tmp_path: Path
) -> None:
    bench = make("true", limits=ONE_EACH)
    with pytest.raises(UsageError, match="no CDI description"):
        bench.worker(gpus=gpus.monitor(), cdi_folders=[tmp_path]).run()
    assert [message.attempt for message in bench.waiting()] == [1]


def test_a_worker_whose_driver_does_not_answer_takes_no_job_in_an_image(
    make: MakeBench, cdi: Path, tmp_path: Path
) -> None:
    devices = tmp_path / "dev"
    devices.mkdir()
    (devices / "nvidia0").touch()
    bench = make("true", limits=ONE_EACH)
    with pytest.raises(UsageError, match="driver does not answer"):
        bench.worker(gpus=Monitor(devices=devices), cdi_folders=[cdi]).run()
