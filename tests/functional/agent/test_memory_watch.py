"""The memory limit of a command, by the agent or by a cgroup."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from parallelize_agent.process.cgroup import JobCgroup
from parallelize_agent.process.command import Command, Ending, Execution

MIB = 2**20


def test_a_cgroup_without_a_memory_controller_leaves_the_watching_to_us(tmp_path: Path) -> None:
    cgroup = JobCgroup(tmp_path / "cgroup")
    cgroup.folder.mkdir()
    command = Command(
        argv=(sys.executable, "-c", f"import time; x = bytearray({150 * MIB}); time.sleep(60)"),
        folder=tmp_path,
        environ={"PATH": os.environ["PATH"]},
        marker=f"PARALLELIZE_SCRATCH={tmp_path}",
        memory_bytes=60 * MIB,
        cgroup=cgroup,
    )
    outcome = Execution(command, tmp_path / "stdout", tmp_path / "log").run()
    assert outcome.ending is Ending.MEMORY
    assert outcome.usage.peak_memory_bytes > 60 * MIB
