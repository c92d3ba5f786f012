"""What tells of a run: `status`, `failures`, `report` and the plan of `download`, by its length."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from tests.bench.client.enqueue import prepare
from tests.bench.client.figures import Figure
from tests.bench.client.finished import finish_many, layout_of
from tests.bench.client.scene import BUCKET, Scene, scene
from tests.bench.small_cloud.cloud import Fill
from tests.bench.small_cloud.process import CloudProcess, small_cloud

FAILED_EVERY = 40
LATENCY_SECONDS = 0.03
COMMANDS = {
    "status": ("status",),
    "failures": ("failures",),
    "report": ("report", "--out", "report.html"),
    "download --dry-run": ("download", "--dry-run", "out"),
}

_numbers = itertools.count()


def measure_reading(
    clients: Mapping[str, str], count: int, core: int | None, cloud_core: int | None
) -> Iterator[Figure]:
    """Measure each command of each client once, on `count` results, one in forty failed."""
    with small_cloud(cloud_core) as cloud:
        run = f"r{next(_numbers)}"
        with scene(cloud, run, core) as made:
            prepare(made, next(iter(clients.values())), count)
            finish_many(cloud, run, count, FAILED_EVERY)
            for what, command in COMMANDS.items():
                for name, program in clients.items():
                    yield _figure(made, what, name, program, command, count)


def measure_listing(
    clients: Mapping[str, str], count: int, core: int | None, cloud_core: int | None
) -> Iterator[Figure]:
    """Measure `status` of a run with `count` results, none failed, at 30 ms a request."""
    with small_cloud(cloud_core) as cloud:
        run = f"r{next(_numbers)}"
        with scene(cloud, run, core) as made:
            prepare(made, next(iter(clients.values())), count)
            _fill(cloud, run, count)
            cloud.delay(LATENCY_SECONDS)
            for name, program in clients.items():
                yield _figure(made, "status, 30 ms a request", name, program, ("status",), count)
            cloud.delay(0)


def _fill(cloud: CloudProcess, run: str, count: int) -> None:
    cloud.create_queue("aside")
    place = layout_of(run).result("inputs/{n}.bin")
    cloud.fill(Fill(BUCKET, place, "{}", "aside", "{n}", count))


def _figure(
    made: Scene, what: str, who: str, program: str, command: tuple[str, ...], count: int
) -> Figure:
    return Figure.of(f"{what}, {count:,} results", who, count, [made.run(program, *command)])
