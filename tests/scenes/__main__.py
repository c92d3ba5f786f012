"""What happens when something goes wrong, in one line each: `python -m tests.scenes`.

Times are short, so that it takes a minute; `--outage 240 --lease 120` is the real thing. Exit
status 1 if a file was lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import structlog
from tests.scenes.scenes import SCENES, Times

from parallelize_agent.process import tree


def main() -> int:
    """Play the scenes, print what came of each, and return the exit status."""
    options = make_parser().parse_args()
    tree.adopt_orphans()
    lost: list[str] = []
    for scene in SCENES:
        if options.only in {None, scene.__name__}:
            with tempfile.TemporaryDirectory() as folder, structlog.testing.capture_logs():
                told = scene(Path(folder), Times(options.outage, options.lease))
            sys.stdout.write(f"{told.line}\n")
            sys.stdout.flush()
            lost += told.lost
    return 1 if lost else 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.scenes", description=__doc__)
    parser.add_argument("--outage", type=float, default=Times.outage, help="seconds")
    parser.add_argument("--lease", type=int, default=Times.lease, help="seconds")
    parser.add_argument("--only", choices=[scene.__name__ for scene in SCENES])
    return parser


if __name__ == "__main__":
    sys.exit(main())
