"""How long the report of a large run takes to make, and a browser to open and use it.

    python -m tests.bench.pages --files 100000

One in a hundred files has failed, fifty workers have done them. The browser has no window; its
times are from the start of the navigation, or of a key press, to the end of the script.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.functional.watching.browser import evaluate
from tests.unit.watching.report_scene import PROVENANCE, at
from tests.unit.watching.scene import LAYOUT, Scene, failure, result

from parallelize.report.data import Gathered, make_report
from parallelize.report.page import render
from parallelize.runs.state.history import told_of_each
from parallelize_core.heartbeat import WorkerState
from parallelize_core.result import Result

WORKERS = 50
FAILED_OF = 97

USED = """
const root = document.getElementById("files-table"), input = root.querySelector("input");
const buttons = root.querySelectorAll("th button"), times = [performance.now()];
for (const use of [
  () => { input.value = "0099"; input.dispatchEvent(new Event("input")); },
  () => { input.value = ""; input.dispatchEvent(new Event("input")); },
  () => buttons[4].click(),
  () => buttons[0].click(),
]) { const begun = performance.now(); use(); times.push(performance.now() - begun); }
return [times, document.documentElement.scrollHeight, root.querySelectorAll("tr").length];
"""


def gathered(count: int) -> Gathered:
    """Make the records of a run that has ended."""
    chance = random.Random(1)
    scene = Scene()
    for number in range(WORKERS):
        scene.beat(f"i-{number:04}", WorkerState.LEFT, done=count // WORKERS)
    results = {one.key: one for one in _results(count, chance)}
    snapshot = replace(
        scene.snapshot(),
        total=count,
        sent=count,
        finished={LAYOUT.result(key): "e" for key in results},
        failures=tuple(one for one in results.values() if one.status == "failed"),
    )
    sizes = [(key, chance.randrange(10**7)) for key in results]
    return Gathered(snapshot, sizes, told_of_each(results.values()), (), None, {}, PROVENANCE)


def _results(count: int, chance: random.Random) -> Iterator[Result]:
    for number in range(count):
        key = f"scans/2026-11/{number % 100:03}/image-{number:07}.tif"
        made = failure if number % FAILED_OF == 0 else result
        yield made(
            key, started_at=at(500), finished_at=at(400 - number % 300), exit_code=0,
            worker=f"i-{number % WORKERS:04}", usage={"seconds": chance.expovariate(0.1)},
        )  # fmt: skip


def main() -> None:
    """Print the figures."""
    found = gathered(make_parser().parse_args().files)
    begun = time.process_time()
    page = render(make_report(found))
    made = time.process_time() - begun
    with tempfile.TemporaryDirectory() as folder:
        times, height, rows = evaluate(page, USED, Path(folder))
    names = ("open", "search", "all again", "sort by time", "sort by name")
    told = ", ".join(f"{name} {ms / 1000:.2f} s" for name, ms in zip(names, times, strict=True))
    sys.stdout.write(f"made: {made:.1f} s CPU, {len(page) / 1e6:.1f} MB\n{told}\n")
    sys.stdout.write(f"{height:,} pixels high, {rows} rows drawn\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    return parser


if __name__ == "__main__":
    main()
