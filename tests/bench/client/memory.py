"""The most memory of commands that need something of each job of a run, by its length.

Each step goes on from what the one before it has left: jobs end, all inputs change, other runs take
the outputs as inputs, or copy them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench.client.figures import Figure
from tests.bench.client.finished import finish_recorded
from tests.bench.client.scene import Scene, scene
from tests.bench.small_cloud.process import CloudProcess, small_cloud

BYTES = 64
GROUP = 100
SCRIPT = "#!/bin/sh\ncp $1 out.bin; echo out.bin\n"

_numbers = itertools.count()


@dataclass(frozen=True)
class Steps:
    """The steps of one client on one cloud."""

    cloud: CloudProcess
    program: str
    who: str
    count: int
    core: int | None
    scenes: ExitStack

    def scene(self, settings: str = "", inputs: str = "inputs/") -> Scene:
        """Make a project; all have the same script."""
        made = self.scenes.enter_context(scene(self.cloud, f"m{next(_numbers)}", self.core))
        (made.project / "env" / "job.sh").write_text(SCRIPT)
        file = made.project / "parallelize.toml"
        file.write_text(file.read_text().replace("inputs/", inputs) + settings)
        return made

    def finished(self, settings: str = "", name_of: Callable[[str], str] = str) -> Scene:
        """Make a run whose jobs have ended."""
        made = self.scene(settings)
        made.fill(self.count, BYTES)
        made.run(self.program, "prep")
        finish_recorded(self.cloud, made.name, name_of)
        return made

    def run(self, made: Scene, what: str, *command: str) -> Figure:
        """Measure a command."""
        took = made.run(self.program, *command)
        return Figure.of(f"{what}, {self.count:,} jobs", self.who, self.count, [took])


def measure_memory(
    clients: Mapping[str, str], count: int, core: int | None, cloud_core: int | None
) -> Iterator[Figure]:
    """Measure each step of each client once, on `count` jobs."""
    for name, program in clients.items():
        for scenario in SCENARIOS:
            with small_cloud(cloud_core) as cloud, ExitStack() as scenes:
                yield from scenario(Steps(cloud, program, name, count, core, scenes))


def _changed(steps: Steps) -> Iterator[Figure]:
    made = steps.scene()
    made.fill(steps.count, BYTES)
    yield steps.run(made, "prep", "prep")
    yield steps.run(made, "enqueue", "enqueue")
    _change(made)
    yield steps.run(made, "prep, inputs changed before jobs ended", "prep")
    finish_recorded(steps.cloud, made.name)
    yield steps.run(made, "prep, nothing changed since", "prep")
    yield steps.run(made, "download", "download", "out")
    _change(made)
    yield steps.run(made, "prep --changed keep, inputs changed", "prep", "--changed", "keep")
    yield steps.run(made, "prep --changed redo, inputs changed", "prep", "--changed", "redo")
    finish_recorded(steps.cloud, made.name)
    yield steps.run(made, "prep, jobs redone", "prep")
    (made.project / "env" / "job.sh").write_text(f"{SCRIPT}# changed\n")
    yield steps.run(made, "prep --changed redo, script changed", "prep", "--changed", "redo")


def _grouped(steps: Steps) -> Iterator[Figure]:
    made = steps.scene()
    made.fill(steps.count, BYTES)
    file = made.project / "parallelize.toml"
    file.write_text(f"{file.read_text()}group = {GROUP}\n")
    yield steps.run(made, "prep, groups", "prep")
    finish_recorded(steps.cloud, made.name)
    _change(made)
    yield steps.run(made, "prep --changed redo, groups", "prep", "--changed", "redo")


def _rows(steps: Steps) -> Iterator[Figure]:
    made, other = steps.scene(inputs="@rows.csv"), steps.scene(inputs="@rows.csv")
    made.fill(steps.count, BYTES)
    other.inputs.symlink_to(made.inputs)
    rows = "".join(f"inputs/{file.name},{n}\n" for n, file in enumerate(made.inputs.iterdir()))
    for one in (made, other):
        (one.project / "rows.csv").write_text(f"file,number\n{rows}")
    yield steps.run(made, "prep, rows", "prep")
    finish_recorded(steps.cloud, made.name)
    yield steps.run(other, "prep, rows, all copied", "prep")
    _change(made)
    yield steps.run(made, "prep --changed redo, rows", "prep", "--changed", "redo")


def _chained(steps: Steps) -> Iterator[Figure]:
    after = steps.scene(inputs=f"run:{steps.finished().name}")
    yield steps.run(after, "prep, another run's outputs", "prep")
    yield steps.run(after, "prep again, another run's outputs", "prep")


def _replacing(steps: Steps) -> Iterator[Figure]:
    """Each output has a name that nine others have, too."""
    replacing = '[output]\non_clash = "replace"\n'
    before = steps.finished(replacing, lambda name: name.replace(name[-5:], name[-4:]))
    yield steps.run(before, "download, on_clash = replace", "download", "out")
    after = steps.scene(inputs=f"run:{before.name}")
    yield steps.run(after, "prep, another run's outputs, on_clash = replace", "prep")


def _copied(steps: Steps) -> Iterator[Figure]:
    before, after = steps.finished(), steps.scene()
    after.inputs.symlink_to(before.inputs)
    yield steps.run(after, "prep, all copied", "prep")
    yield steps.run(after, "prep again, all copied", "prep")


def _late(steps: Steps) -> Iterator[Figure]:
    made = steps.finished()
    (made.inputs / "one more").write_bytes(b"")
    yield steps.run(made, "prep, one more input", "prep")
    yield steps.run(made, "enqueue, all others ended", "enqueue")


SCENARIOS = (_changed, _grouped, _rows, _chained, _replacing, _copied, _late)


def _change(made: Scene) -> None:
    """Write all inputs again, with other contents."""
    for path in made.inputs.iterdir():
        path.write_bytes(os.urandom(BYTES))
