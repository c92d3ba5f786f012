"""What `--help` of each command costs: `python -m tests.bench.help_times`.

Prints the CPU time of a process, user and system, the least of several: what the machine does
beside it only adds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from parallelize import cli

PROGRAM = Path(sys.executable).with_name("parallelize")
TIMES = 3


def cpu_seconds(words: Sequence[str | Path]) -> float:
    """Return the CPU time of a process, in seconds."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print a line for each command, and the most."""
    times = {}
    for command in cli.COMMANDS:
        words = (PROGRAM, command.name, "--help")
        times[command.name] = min(cpu_seconds(words) for _ in range(TIMES))
        print(f"{command.name:<12} {1000 * times[command.name]:4.0f} ms")  # noqa: T201
    print(f"{'the most':<12} {1000 * max(times.values()):4.0f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
