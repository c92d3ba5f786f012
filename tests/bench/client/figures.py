"""What was measured: medians of rounds, a line of a table for each, and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from tests.bench.client.scene import MIB, Took


@dataclass(frozen=True)
class Figure:
    """A program's work on `what`: things a second, CPU in milliseconds each, seconds, peak MiB.

    `per_second` has the median and the range over the rounds.
    """

    what: str
    who: str
    count: int
    seconds: float
    per_second: float
    per_second_range: tuple[float, float]
    cpu_ms: float
    peak_mib: float

    @classmethod
    def of(cls, what: str, who: str, count: int, rounds: Sequence[Took]) -> Figure:
        """Return the medians of rounds in each of which `count` things were done."""
        rates = sorted(count / one.seconds for one in rounds)
        return cls(
            what=what,
            who=who,
            count=count,
            seconds=round(median(one.seconds for one in rounds), 3),
            per_second=round(median(rates), 1),
            per_second_range=(round(rates[0], 1), round(rates[-1], 1)),
            cpu_ms=round(1000 * median(one.cpu_seconds for one in rounds) / count, 4),
            peak_mib=round(median(one.peak_bytes for one in rounds) / MIB, 1),
        )

    @property
    def line(self) -> str:
        """A row of the table."""
        low, high = self.per_second_range
        return (
            f"| {self.what} | {self.who} | {self.seconds:.2f} s | {self.per_second:,.0f} "
            f"({low:,.0f}-{high:,.0f}) | {self.cpu_ms:.3f} | {self.peak_mib:.0f} |"
        )


HEAD = "| what | who | time | a second | CPU ms each | peak MiB |\n|---|---|---:|---:|---:|---:|"


@dataclass
class Report:
    """All figures of a run of the bench, and the machine that it ran on."""

    machine: dict[str, str]
    figures: list[Figure] = field(default_factory=list)

    def encode(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), indent=1)
