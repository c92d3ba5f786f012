"""Fuzz one target by coverage: `python -m tests.fuzz environment -max_total_time=60`.

Needs atheris (`pip install atheris`). What follows the target's name goes to libFuzzer. Inputs
that found something new are kept in the folder of `--corpus`, if it is given.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

INSTRUMENTED = [
    "parallelize", "parallelize_agent", "parallelize_core", "zipfile", "tomllib", "gzip"
]  # fmt: skip


def main() -> None:
    """Fuzz until libFuzzer ends the process: 0 if nothing was found."""
    import atheris  # noqa: PLC0415 - it is installed for this alone

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import SEEDS, TARGETS  # noqa: PLC0415 - not before this
    options = make_parser().parse_args()
    corpus = options.corpus or Path(tempfile.mkdtemp(prefix="corpus-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[options.target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options.for_libfuzzer, str(corpus)], TARGETS[options.target])
    atheris.Fuzz()


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - they have to be instrumented first

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--corpus", type=Path, help="a folder to start from and to add to")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("for_libfuzzer", nargs=argparse.REMAINDER, metavar="...")
    return parser


if __name__ == "__main__":
    main()
