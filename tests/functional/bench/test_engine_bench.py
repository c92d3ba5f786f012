"""The benchmark of the agent still works: it is started, with as little to do as possible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.bench.engine.figures import Report
from tests.bench.engine.rows import ROWS

ROOT = Path(__file__).parents[3]
NEEDS_MORE = {"isolation", "others"}
"""Root, and programs that need not be installed."""


@pytest.mark.parametrize("row", [row for row in ROWS if row not in NEEDS_MORE])
def test_the_bench_measures_a_real_agent_and_writes_figures(row: str, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.engine", "--tiny", "--only", row, "--json", figures],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = [figure for figure in Report.read(figures).figures if figure.who == "agent"]
    assert found
    assert all(len(figure.rounds) == 1 for figure in found)
