"""What a container costs: a start, and an image of a gigabyte for a worker with eight slots.

    python -m tests.bench.containers --starts 40 --megabytes 1024

As root the starts are those of a machine of the image: each job is a user of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.functional.container.images import (
    Made,
    Registry,
    entry,
    layer,
    make_image,
    programs,
    serve_registry,
    shell_image,
)

from parallelize_agent.container.images import Images
from parallelize_agent.container.pull import Puller
from parallelize_agent.job.preparation import Preparer
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.process import isolation
from parallelize_agent.process.command import Command
from parallelize_agent.process.isolation import Container, Shared
from parallelize_agent.process.job_users import JobUsers
from parallelize_agent.process.world import World
from parallelize_core.testing import InMemoryStore

SLOTS = 8
COMMAND = ("sh", "-c", ":")
FILES = 64
"""How many files the large image has."""


@contextmanager
def work_folder() -> Iterator[Path]:
    """Make a folder that jobs' users reach, which none below /tmp is to them."""
    where = "/var/cache" if os.geteuid() == 0 else None
    with TemporaryDirectory(prefix="parallelize-bench-", dir=where) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def make_images(folder: Path, users: JobUsers | None) -> tuple[Images, ScratchSpace]:
    """Return the images of an agent that works in `folder`."""
    space = ScratchSpace(folder / "jobs", users)
    preparer = Preparer(space, None, lambda *_: None)
    puller = Puller(lambda *_: None, lambda _: InMemoryStore())
    files = ThreadPoolExecutor(1)
    return Images(folder / "images", folder, puller, preparer, files), space


def starts(count: int, registry: Registry, folder: Path, users: JobUsers | None) -> None:
    """Print how long a command of the shell takes from start to end, in milliseconds."""
    images, space = make_images(folder, users)
    image = registry.image(shell_image(folder / "shell"), "shell")
    container = images.provide(image)
    ways: dict[str, Container | None] = {
        "without a container": None,
        "in a container": container,
        "in a container with run.network": container.with_network(allowed=True),
    }
    for name, inside in ways.items():
        job = space.reserve("job")
        space.make(job)
        space.furnish(job, None)
        words = isolation.prefix(job.user, job.tmp, inside, Shared((job.scratch,)))
        world = isolation.world_of(job.user, job.tmp, inside)
        # What is loaded once is not to count.
        start((*words, *COMMAND), job.scratch, world)
        used, times = cpu_seconds(), []
        for _ in range(count):
            begun = time.perf_counter()
            start((*words, *COMMAND), job.scratch, world)
            times.append(1000 * (time.perf_counter() - begun))
        cpu = 1000 * (cpu_seconds() - used) / count
        least, median = min(times), statistics.median(times)
        say(f"{name}: {median:.1f} ms, at least {least:.1f}; {cpu:.1f} ms of CPU")


def cpu_seconds() -> float:
    """Return the CPU time of all that was started and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(words: tuple[str, ...], folder: Path, world: World | None) -> None:
    """Run a command to its end."""
    environ = {"PATH": "/usr/bin:/bin"}
    with Command(words, folder, environ, "BENCH=1", world=world).start() as child:
        code, _, _ = child.reap()
    if code:
        sys.exit(f"{words[0]} ended with exit {code}")


def large_image(folder: Path, megabytes: int) -> Made:
    """Write an image that cannot be compressed, in files of the same size."""
    dice = random.Random(1)
    each = megabytes * 1024**2 // FILES
    files = (entry(f"data/{number}", dice.randbytes(each)) for number in range(FILES))
    return make_image(folder, [layer(*programs("sh")), layer(*files, compressed=False)])


def large(megabytes: int, registry: Registry, folder: Path, users: JobUsers | None) -> None:
    """Have eight slots want one image, and print how long that took and what was fetched."""
    made = large_image(folder / "large-image", megabytes)
    image = registry.image(made, "large")
    images, _ = make_images(folder / "worker", users)
    with ThreadPoolExecutor(SLOTS) as slots:
        begun = time.perf_counter()
        list(slots.map(images.provide, [image] * SLOTS))
        seconds = time.perf_counter() - begun
    fetched = registry.lines('"GET /v2/large/blobs/')
    say(f"{megabytes:,} MB, {SLOTS} slots: {seconds:.1f} s, {len(fetched)} parts fetched")
    for part in made.manifest["layers"]:
        count = sum(part["digest"] in line for line in fetched)
        say(f"  {part['size']:,} bytes: fetched {count} times")


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def main() -> None:
    """Measure both."""
    given = make_parser().parse_args()
    users = JobUsers.named("daemon") if os.geteuid() == 0 else None
    if users:
        sys.executable = "/usr/bin/python3"  # the one of a checkout may be out of the users' reach
    with work_folder() as folder, serve_registry(folder / "registry") as registry:
        (folder / "worker").mkdir(mode=0o711)
        starts(given.starts, registry, folder, users)
        large(given.megabytes, registry, folder, users)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=40)
    parser.add_argument("--megabytes", type=int, default=1024)
    return parser


if __name__ == "__main__":
    main()
