"""Fuzz one target by coverage: `python -m tests.fuzz environment -max_total_time=60`.

Needs atheris (`pip install atheris`). What follows the target's name goes to libFuzzer. Inputs
that found something new are kept in the folder of `--corpus`, if it is given.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["parallelize", "parallelize_agent", "parallelize_core", "zipfile", "tomllib", "gzip"]
):
    from tests.fuzz.targets import SEEDS, TARGETS


def main() -> None:
    """Fuzz until libFuzzer ends the process: 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--corpus", type=Path, help="a folder to start from and to add to")
    options, for_libfuzzer = parser.parse_known_args()
    corpus = options.corpus or Path(tempfile.mkdtemp(prefix="corpus-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[options.target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *for_libfuzzer, str(corpus)], TARGETS[options.target])
    atheris.Fuzz()


main()
