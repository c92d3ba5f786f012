"""A full disk ends as the right cause, and the worker goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.functional.agent.bench import SWIFT, Bench
from tests.functional.agent.conftest import MakeBench

from parallelize_core.result import Cause
from parallelize_core.run import Limits

MIB = 2**20
ONCE = Limits(max_attempts=1)
FILL = "cat /dev/zero > fill 2>/dev/null"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this needs root and the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def run(bench: Bench, disk: Path) -> None:
    departure = bench.worker(folder=disk).run()
    assert departure.error is None


def test_an_input_that_is_too_large_for_the_disk_is_a_bad_input(
    make: MakeBench, small_disk: Path
) -> None:
    bench = make("true", limits=ONCE)
    bench.add({"large": bytes(9 * MIB), "small": b"x"})
    run(bench, small_disk)
    assert bench.result("large").cause is Cause.INPUT
    assert "workers.disk" in bench.result("large").message
    assert bench.result("small").status == "succeeded"


def test_inputs_that_do_not_fit_together_are_not_charged(make: MakeBench, small_disk: Path) -> None:
    bench = make("sleep 0.1", limits=ONCE)
    inputs = {f"{n}": bytes(5 * MIB) for n in range(4)}
    bench.add(inputs)
    run(bench, small_disk)
    assert {bench.result(key).status for key in inputs} == {"succeeded"}
    assert {bench.result(key).attempt for key in inputs} == {1}


def test_a_command_that_fills_the_disk_has_failed_by_itself_and_the_next_has_room(
    make: MakeBench, small_disk: Path
) -> None:
    bench = make(
        f'case "$1" in *hog) {FILL} || {{ echo "no space left" >&2; exit 4; }};; esac',
        limits=ONCE,
        config=SWIFT.model_copy(update={"slots": 1}),
    )
    bench.add({"hog": b"", "modest": b""})
    run(bench, small_disk)
    assert (bench.result("hog").cause, bench.result("hog").exit_code) == (Cause.COMMAND, 4)
    assert bench.result("modest").status == "succeeded"


def test_a_job_that_fills_the_disk_is_not_tried_for_ever(make: MakeBench, small_disk: Path) -> None:
    bench = make(f"{FILL}; head -c 1000000 /dev/zero; exit 4", limits=Limits(max_attempts=2))
    bench.add({"hog": b""})
    run(bench, small_disk)
    assert (bench.result("hog").cause, bench.result("hog").attempt) == (Cause.COMMAND, 2)


def test_a_success_with_a_full_disk_is_a_success_and_its_outputs_are_whole(
    make: MakeBench, small_disk: Path
) -> None:
    bench = make(f"echo result > out; echo out; {FILL}; head -c 100000 /dev/zero >&2; true")
    bench.add({"x": b""})
    run(bench, small_disk)
    assert bench.result("x").status == "succeeded"
    assert bench.output("out") == b"result\n"


def test_names_of_outputs_that_the_full_disk_did_not_take_are_no_success(
    make: MakeBench, small_disk: Path
) -> None:
    bench = make(f"echo result > out; {FILL}; seq 100000; echo out",
                 limits=ONCE)  # fmt: skip
    bench.add({"x": b""})
    run(bench, small_disk)
    assert bench.result("x").cause is Cause.OUTPUT
    assert "disk" in bench.result("x").message


def test_a_worker_with_too_little_room_receives_nothing_and_leaves(
    make: MakeBench, small_disk: Path
) -> None:
    bench = make("true", config=SWIFT.model_copy(update={"disk_reserve_bytes": 9 * MIB}))
    bench.add({"x": b""})
    departure = bench.worker(folder=small_disk).run()
    assert departure.error
    assert "disk" in departure.error.what
    assert bench.queue.counts().visible == 1
