"""Measures how long a worker takes from power-on to its first job, and what takes the time.

    python -m tests.image.boot_time [BOOTS]

As root, with the packages of tests/install-packages.sh. A tree is provisioned for it; each
boot is a container of its own; the answer is the median, and systemd's own account of one boot.
"""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.image.harness.container import Container, containers
from tests.image.harness.machine import environment, extra_unit, wait_for_power_off
from tests.image.harness.network import private_network
from tests.image.harness.services import bench, shell
from tests.image.harness.tree import provisioned

ACCOUNT = """
[Unit]
After=parallelize-agent.service
[Service]
Type=oneshot
StandardOutput=journal+console
ExecStart=-systemd-analyze --no-pager critical-chain parallelize-agent.service
ExecStart=-systemd-analyze --no-pager blame
"""
WANTED = "systemd.wants=account.service"
INTERESTING = re.compile(r"systemd-analyze\[\d+\]: (.*)")


def main(boots: int) -> None:
    """Provision, boot, measure, print."""
    seconds, console = [], ""
    with TemporaryDirectory() as folder:
        tree = provisioned(Path(folder))
        for _ in range(boots):
            first_job, console = boot(tree)
            seconds.append(first_job)
    print(f"power-on to first job: median {median(seconds):.2f} s of", sorted(seconds))  # noqa: T201
    for line in INTERESTING.findall(console)[:40]:
        print(line)  # noqa: T201


def boot(tree: Path) -> tuple[float, str]:
    """Return the seconds from start to the first job's start, and the console."""
    with TemporaryDirectory() as folder, private_network(Path(folder)), bench() as services:
        layout = services.start_run("boot", shell("sleep 2"), inputs=1)
        words = (*environment(services.environment), extra_unit("account.service", ACCOUNT), WANTED)
        with containers() as started:
            begun = time.time()
            started.append(Container(tree, Path(folder), words))
            console = wait_for_power_off(started[0])
        (result,) = services.results(layout).values()
        return datetime.fromisoformat(result.started_at).timestamp() - begun, console


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.image.boot_time")
    parser.add_argument("boots", type=int, nargs="?", default=5)
    return parser


if __name__ == "__main__":
    main(make_parser().parse_args().boots)
