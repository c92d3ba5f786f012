"""Jobs onto a queue: `enqueue` beside bare boto3, with threads, in batches of ten."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.bench.client.figures import Figure
from tests.bench.client.finished import KEY, layout_of
from tests.bench.client.scene import BUCKET, Scene, Took, scene
from tests.bench.small_cloud.process import CloudProcess

from parallelize_core.manifest import PART_ENTRIES, Entry, encode_part
from parallelize_core.names import Names

_numbers = itertools.count()


def measure_enqueue(
    cloud: CloudProcess, clients: Mapping[str, str], count: int, rounds: int, core: int | None
) -> Iterator[Figure]:
    """Measure each client and boto3 in turn."""
    took: dict[str, list[Took]] = {}
    for _ in range(rounds):
        for name, program in clients.items():
            with scene(cloud, f"q{next(_numbers)}", core) as made:
                prepare(made, program, count)
                took.setdefault(name, []).append(made.run(program, "enqueue"))
                _check(cloud, Names(made.name).queue, count)
        with scene(cloud, f"q{next(_numbers)}", core) as made:
            url = cloud.create_queue(made.name)
            peer = Path(__file__).with_name("boto3_peer.py")
            took.setdefault("bare boto3, 8 threads", []).append(
                made.run(sys.executable, peer, url, str(count))
            )
            _check(cloud, made.name, count)
    for name, each in took.items():
        yield Figure.of(f"enqueue {count:,}", name, count, each)


def prepare(made: Scene, program: str, count: int) -> None:
    """Prepare a run of one file, and let its manifest have `count`."""
    made.fill(1, 10)
    made.run(program, "prep")
    layout = layout_of(made.name)
    entries = (
        Entry(key=KEY.format(number), size=4096, etag="d41d8cd98f00b204e9800998ecf8427e")
        for number in range(count)
    )
    number = 0
    while part := list(itertools.islice(entries, PART_ENTRIES)):
        made.cloud.put(BUCKET, layout.manifest_part(number), encode_part(part))
        number += 1


def _check(cloud: CloudProcess, queue: str, count: int) -> None:
    sent = cloud.stats()["queues"][queue]["visible"]
    if sent != count:
        sys.exit(f"{sent} of {count} messages are on the queue")
