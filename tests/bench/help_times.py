"""What `--help` of each command costs: `python -m tests.bench.help_times`.

Prints the CPU time of a process, user and system, the least of five: what the machine does
beside it only adds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from parallelize.examples import EXAMPLES

PROGRAM = Path(sys.executable).with_name("parallelize")
TIMES = 5


def cpu_seconds(words: Sequence[str | Path]) -> float:
    """Return the CPU time of a process, in seconds."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print a line for each command, and the most."""
    times = {}
    for command in EXAMPLES:
        words = (PROGRAM, *command.split(), "--help")
        times[command] = min(cpu_seconds(words) for _ in range(TIMES))
        print(f"{command:<16} {1000 * times[command]:4.0f} ms")  # noqa: T201
    print(f"{'the most':<16} {1000 * max(times.values()):4.0f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
