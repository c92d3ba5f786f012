"""How often commands wait for the network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.bench.client.finished import finish_all
from tests.bench.client.scene import Scene, scene
from tests.bench.small_cloud.process import small_cloud

PROGRAM = Path(sys.executable).with_name("parallelize")

DELAY_SECONDS = 0.15
"""Of each request: requests that a command makes at the same time arrive within less."""


@dataclass(frozen=True)
class Trips:
    """How many requests a command makes, and how often it waits for an answer before the next."""

    requests: int
    waits: int


AT_MOST = {
    "prep of a new run": Trips(18, 8),
    "prep of an unchanged run": Trips(15, 5),
    "enqueue": Trips(23, 12),
    "status": Trips(18, 5),
    "failures": Trips(4, 1),
    "download": Trips(8, 4),
    "explain": Trips(10, 8),
}
"""Of a run with one file. In November 2026, when each was asked for when it was needed, it was 32
requests for the first prep, 21 for the second, 28 for enqueue, 20, 4 and 9 for status, failures
and download, nearly all of them one after the other. `explain` made 15, of which it used 10."""


@pytest.fixture(scope="module")
def made() -> Iterator[dict[str, Trips]]:
    """What each command took, in a run with one file."""
    with small_cloud() as cloud, scene(cloud, "trips", None) as project:
        project.fill(1, 4096)
        found = {
            "prep of a new run": _count(project, "prep"),
            "prep of an unchanged run": _count(project, "prep"),
            "enqueue": _count(project, "enqueue"),
        }
        finish_all(cloud, project.name, project.inputs)
        yield {
            **found,
            "status": _count(project, "status"),
            "failures": _count(project, "failures"),
            "download": _count(project, "download", project.root / "out"),
            "explain": _count(project, "explain", f"{0:07}.bin"),
        }


def _count(project: Scene, *command: str | Path) -> Trips:
    project.cloud.delay(DELAY_SECONDS)
    project.cloud.forget()
    project.run(PROGRAM, *command)
    stats = project.cloud.stats()
    project.cloud.delay(0)
    return Trips(sum(calls["count"] for calls in stats["calls"].values()), stats["waits"])


@pytest.mark.parametrize("command", AT_MOST)
def test_a_command_makes_few_requests_and_waits_for_few_of_them(
    made: dict[str, Trips], command: str
) -> None:
    took, at_most = made[command], AT_MOST[command]
    assert took.requests <= at_most.requests
    assert took.waits <= at_most.waits
