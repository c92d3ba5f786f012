"""Figures: what was measured of whom, in which rounds, against which goal."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.engine.worker_process import SCRATCH
from tests.bench.small_cloud.process import ROOT

DISTURBED = 0.03
"""The share of a processor above which it is said that others have used it."""


@dataclass(frozen=True)
class Figure:
    """One cell of the table: `rounds` are in the order in which they were taken.

    `goal` is the most that is wanted, or the least if `more_is_better`; None if nothing is.
    `others` is the share of the processor that others used in each round, where that matters.
    """

    row: str
    who: str
    unit: str
    rounds: tuple[float, ...]
    goal: float | None = None
    more_is_better: bool = False
    others: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """What to look at."""
        return statistics.median(self.rounds)

    @property
    def reached(self) -> bool | None:
        """Whether the median is within the goal, if there is one."""
        if self.goal is None:
            return None
        return self.median >= self.goal if self.more_is_better else self.median <= self.goal

    @property
    def line(self) -> str:
        """The figure for people."""
        spread = f"({self.show(min(self.rounds))} to {self.show(max(self.rounds))})"
        most = "at least" if self.more_is_better else "at most"
        wanted = "" if self.goal is None else f"{most} {self.show(self.goal)}"
        mark = {True: "reached", False: "missed", None: ""}[self.reached]
        value = f"{self.show(self.median):>7} {self.unit}"
        whose = f"{self.row:52} {self.who:13}"
        return f"{whose} {value:14} {spread:18} {wanted:15} {mark} {self.disturbed}".rstrip()

    def show(self, number: float) -> str:
        """Return a number of this figure's unit for people; what is near 1 needs a digit more."""
        return f"{number:.4g}" if self.unit == "times" else short(number)

    @property
    def disturbed(self) -> str:
        """How much others have disturbed it, if more than a little."""
        share = statistics.median(self.others or (0,))
        return f"[others had {share:.0%} of the core]" if share > DISTURBED else ""


@dataclass
class Report:
    """All figures of one run of the bench; who the agents are, and where it was."""

    agents: list[str]
    machine: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)

    def encode(self) -> str:
        """Return the report as JSON, rounded to what says something."""
        figures = [{**asdict(each), "median": each.median} for each in self.figures]
        shown = {"agents": self.agents, "machine": self.machine, "figures": _rounded(figures)}
        return json.dumps(shown, indent=1)

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read a report that `encode` has made."""
        found = json.loads(path.read_text())
        figures = []
        for each in found["figures"]:
            del each["median"]
            lists = {name: tuple(each[name]) for name in ("rounds", "others")}
            figures.append(Figure(**each | lists))
        return cls(found["agents"], found["machine"], figures)

    def of(self, row: str, who: str) -> Figure | None:
        """Return one figure, if it was taken."""
        return next((each for each in self.figures if (each.row, each.who) == (row, who)), None)

    def peers(self, row: str) -> list[Figure]:
        """Return what was taken of others than the agents."""
        return [each for each in self.figures if each.row == row and each.who not in self.agents]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def short(number: float) -> str:
    """Return a number with three digits that say something."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "processor": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "scratch": f"{SCRATCH} ({_file_system()})",
        "load_at_start": os.getloadavg()[0],
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
    }


def _field(path: Path, name: str) -> str:
    lines = [line.partition(":") for line in path.read_text().splitlines()]
    return next((value.strip() for key, _, value in lines if key.strip() == name), "unknown")


def _file_system() -> str:
    return _output("stat", "--file-system", "--format=%T", str(SCRATCH))


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
