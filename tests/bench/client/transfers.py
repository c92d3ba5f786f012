"""Files up and down: `prep` and `download` beside s5cmd, obstore and the AWS CLI."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.client.figures import Figure
from tests.bench.client.finished import finish_all
from tests.bench.client.scene import BUCKET, MIB, Scene, Took, scene
from tests.bench.small_cloud.process import CloudProcess

_numbers = itertools.count()

PEERS = "BENCH_PEERS"
"""Names the folder of a virtual environment's programs, in which s5cmd, obstore and aws are."""


@dataclass(frozen=True)
class Load:
    """A number of files of one size."""

    count: int
    size: int

    @property
    def name(self) -> str:
        """What it is called in a table."""
        units = {MIB: "MiB", 1024: "KiB", 1: "B"}
        unit = next(unit for unit in units if self.size >= unit)
        return f"{self.count:,} x {self.size // unit} {units[unit]}"


def measure_transfers(
    cloud: CloudProcess, clients: Mapping[str, str], load: Load, rounds: int, core: int | None
) -> Iterator[Figure]:
    """Measure each client and each peer in turn, both ways."""
    took: dict[tuple[str, str], list[Took]] = {}
    for _ in range(rounds):
        for name, program in clients.items():
            with scene(cloud, f"t{next(_numbers)}", core) as made:
                made.fill(load.count, load.size)
                took.setdefault(("up", name), []).append(made.run(program, "prep"))
                finish_all(cloud, made.name, made.inputs)
                down = made.run(program, "download", made.root / "out")
                _check(made.root / "out", load)
                took.setdefault(("down", name), []).append(down)
        with scene(cloud, f"t{next(_numbers)}", core) as made:
            made.fill(load.count, load.size)
            for name, copy in peers().items():
                prefix = f"peer{next(_numbers)}"
                took.setdefault(("up", name), []).append(copy(made, prefix, None))
                out = made.root / name
                took.setdefault(("down", name), []).append(copy(made, prefix, out))
                _check(out, load)
                shutil.rmtree(out)
    for (way, name), rounds_of in took.items():
        yield Figure.of(f"{load.name} {way}", name, load.count, rounds_of)


Copy = Callable[[Scene, str, Path | None], Took]
"""Copies the inputs to a prefix, or from there into a folder."""


def peers() -> dict[str, Copy]:
    """Return the peers that are there."""
    folder = Path(os.environ.get(PEERS, ""))
    found: dict[str, Copy] = {}
    if (folder / "s5cmd").is_file():
        found["s5cmd"] = _s5cmd(folder / "s5cmd")
    if list(folder.parent.glob("lib/python*/site-packages/obstore")):
        found["obstore"] = _obstore(folder / "python")
    if (folder / "aws").is_file():
        found["aws s3 cp"] = _aws(folder / "aws")
    return found


def _s5cmd(program: Path) -> Copy:
    def copy(made: Scene, prefix: str, out: Path | None) -> Took:
        place = f"s3://{BUCKET}/{prefix}/"
        words = (f"{made.inputs}/", place) if out is None else (f"{place}*", f"{out}/")
        return made.run(program, "--endpoint-url", made.cloud.client_url, "cp", *words)

    return copy


def _aws(program: Path) -> Copy:
    def copy(made: Scene, prefix: str, out: Path | None) -> Took:
        place = f"s3://{BUCKET}/{prefix}/"
        words = (made.inputs, place) if out is None else (place, out)
        url = made.cloud.client_url
        return made.run(
            program, "s3", "--endpoint-url", url, "cp", "--recursive", "--quiet", *words
        )

    return copy


def _obstore(python: Path) -> Copy:
    def copy(made: Scene, prefix: str, out: Path | None) -> Took:
        peer = Path(__file__).with_name("obstore_peer.py")
        way = ("up", made.inputs) if out is None else ("down", out)
        return made.run(python, peer, made.cloud.client_url, BUCKET, prefix, *way)

    return copy


def _check(folder: Path, load: Load) -> None:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    if sizes.count(load.size) != load.count:
        sys.exit(f"{sizes.count(load.size)} of {load.count} files came down into {folder}")
