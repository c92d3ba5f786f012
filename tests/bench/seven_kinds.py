"""Seven kinds of work in the local cloud, as a new user types them.

    python -m tests.bench.seven_kinds [FIRST]      # from the kind with this number, 1 to 7

Makes the inputs and scripts of each in a folder of its own, types its lines, compares the outputs
with what they have to be, and prints a table of the lines and the time of each: all of it, from
the first line typed to the last output here. Packages come from an index, into uv's cache; take a
second round for the time without their download.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

PROGRAM_FOLDER = Path(sys.executable).parent
SECONDS = 900.0
SHADES = bytes(range(256))

THUMBNAIL = """#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["pillow"]
# ///
import sys
from pathlib import Path
from PIL import Image

photo = Path(sys.argv[1])
image = Image.open(photo)
image.thumbnail((32, 32))
image.save(f"{photo.stem}.jpg")
print(f"{photo.stem}.jpg")
"""

SPECTRUM = """#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["numpy"]
# ///
import sys
from pathlib import Path
import numpy

signal = numpy.loadtxt(sys.argv[1])
name = Path(sys.argv[1]).stem + ".npy"
numpy.save(name, numpy.abs(numpy.fft.rfft(signal)))
print(name)
"""

MEASURE = """#!/usr/bin/env python3
import json
import sys
from pathlib import Path

settings = json.loads(Path("settings.json").read_text())
scale, path = int(sys.argv[sys.argv.index("--scale") + 1]), Path(sys.argv[-1])
total = sum(map(int, path.read_text().split())) * scale
Path(path.name).write_text(f"{settings['unit']} {total}\\n")
print(path.name)
"""

TRAIN = """#!/usr/bin/env python3
import sys
from pathlib import Path

rate, seed = float(sys.argv[1]), int(sys.argv[2])
Path("loss.txt").write_text(f"{rate * seed}\\n")
print("loss.txt")
"""

COUNT = '#!/bin/sh\nwc -w < "$1" > "${1##*/}.n" && echo "${1##*/}.n"\n'

ADD_UP = """#!/usr/bin/env python3
import os
from pathlib import Path

parts = [Path(line) for line in Path(os.environ["PARALLELIZE_FILES"]).read_text().split()]
Path("total.txt").write_text(f"{sum(int(part.read_text()) for part in parts)}\\n")
print("total.txt")
"""


@dataclass(frozen=True)
class Kind:
    """A kind of work: what is there before, the lines that are typed, and what has to be there."""

    name: str
    make: Callable[[Path], None]
    lines: tuple[str, ...]
    outputs: str
    count: int


def main() -> None:
    """Do each kind of work once, and print a line of a table for each."""
    first = make_parser().parse_args().first
    show("| work | lines typed | seconds |\n|---|---|---|")
    with TemporaryDirectory(prefix="seven-kinds-") as folder:
        environ = {
            **os.environ,
            "PATH": f"{PROGRAM_FOLDER}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(Path(folder, "state")),
        }
        try:
            for number, kind in enumerate(KINDS[first - 1 :]):
                show(measure(kind, Path(folder, str(number)), environ))
        finally:
            typed("parallelize local stop", Path(folder), environ)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.seven_kinds")
    parser.add_argument("first", type=int, nargs="?", default=1)
    return parser


def measure(kind: Kind, folder: Path, environ: dict[str, str]) -> str:
    """Do a kind of work; return its line of the table, or raise if an output is missing."""
    folder.mkdir()
    kind.make(folder)
    began = time.monotonic()
    for line in kind.lines:
        typed(line, folder, environ)
    seconds = time.monotonic() - began
    found = len([path for path in folder.glob(kind.outputs) if path.stat().st_size])
    if found != kind.count:
        raise AssertionError(f"{kind.name}: {found} of {kind.count} outputs")
    lines = "<br>".join(f"`{line}`" for line in kind.lines).replace("|", r"\|")
    return f"| {kind.name} | {lines} | {seconds:.0f} |"


def typed(line: str, folder: Path, environ: dict[str, str]) -> None:
    """Have bash execute a line; show all that it has printed if it fails."""
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environ, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        show(done.stdout + done.stderr)
        raise SystemExit(f"{line}: exit code {done.returncode}")


def script(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def inputs(folder: Path, names: list[str], content: Callable[[random.Random], bytes]) -> None:
    dice = random.Random(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(dice))


def numbers(dice: random.Random, count: int = 100) -> bytes:
    return "".join(f"{dice.randrange(1000)}\n" for _ in range(count)).encode()


def png(dice: random.Random) -> bytes:
    """Return a picture of 160 x 120 grey pixels."""
    rows = b"".join(b"\0" + bytes(dice.choices(SHADES, k=160)) for _ in range(120))
    header = struct.pack(">IIBBBBB", 160, 120, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def events(dice: random.Random) -> bytes:
    return json.dumps({"events": [{"value": dice.random()} for _ in range(50)]}).encode()


def make_photos(folder: Path) -> None:
    script(folder, "thumbnail.py", THUMBNAIL)
    inputs(folder, [f"photos/{number:03}.png" for number in range(300)], png)


def make_signals(folder: Path) -> None:
    script(folder, "spectrum.py", SPECTRUM)
    inputs(folder, [f"signals/{n}.txt" for n in range(40)], lambda dice: numbers(dice, 5000))


def make_events(folder: Path) -> None:
    inputs(folder, [f"events/{number}.json" for number in range(100)], events)


def make_project(folder: Path) -> None:
    script(folder, "env/measure.py", MEASURE)
    (folder / "env/settings.json").write_text('{"unit": "mm"}')
    inputs(folder, [f"inputs/{number}.txt" for number in range(100)], numbers)
    (folder / "parallelize.toml").write_text(
        'schema = 1\n[run]\nenv = "env/"\ncommand = "./measure.py --scale 3"\n'
    )


def make_sweep(folder: Path) -> None:
    script(folder, "train.py", TRAIN)


def make_texts(folder: Path) -> None:
    script(folder, "env/count.sh", COUNT)
    script(folder, "env/add_up.py", ADD_UP)
    inputs(folder, [f"inputs/{number}.txt" for number in range(100)], numbers)
    (folder / "parallelize.toml").write_text(
        'schema = 1\n[run]\nenv = "env/"\ncommand = "./count.sh"\nthen = "./add_up.py"\n'
    )


def make_tiny(folder: Path) -> None:
    script(folder, "count.sh", COUNT)
    inputs(folder, [f"tiny/{number}.txt" for number in range(5000)], lambda dice: numbers(dice, 1))


RUN = "parallelize run --local"
JQ = shlex.quote('n=$(basename "$1" .json).gz; jq -c ".events[]" "$1" | gzip > "$n"; echo "$n"')

KINDS = (
    Kind("300 images, Pillow (metadata in the script)", make_photos,
         (f"{RUN} -- ./thumbnail.py {{}} ::: photos/*.png",), "out/**/*.jpg", 300),
    Kind("40 signals, numpy (metadata in the script)", make_signals,
         (f"{RUN} -- ./spectrum.py {{}} ::: signals/*.txt",), "out/**/*.npy", 40),
    Kind("100 JSON files, jq and gzip in a pipe", make_events,
         (f"PARALLELIZE_RUN_SHELL=true {RUN} --inputs events/ --command {JQ}",),
         "out/**/*.gz", 100),
    Kind("100 files, arguments and a config file (`parallelize.toml`)", make_project,
         ("parallelize check inputs/0.txt", RUN), "out/*.txt", 100),
    Kind("a sweep of 40 combinations", make_sweep,
         (f"{RUN} --grid lr=0.1,0.01 seed=1..20 -- ./train.py {{lr}} {{seed}}",),
         "out/**/loss.txt", 40),
    Kind("100 files, then one sum over all (`run.then`)", make_texts, (RUN,),
         "out/**/total.txt", 1),
    Kind("5,000 tiny files", make_tiny,
         (f"{RUN} --inputs tiny/ --command ./count.sh",), "out/**/*.n", 5000),
)  # fmt: skip


def show(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
