"""Breaks each guard of the protocol and looks whether a test notices: `python -m tests.mutations`.

Each mutation is made in a copy of the tree, and only the tests that concern it run there; without
any mutation they have to pass. Prints a line for each guard and the share that was killed. Exit
status 1 if a guard can be broken unnoticed, 2 if the code has moved away from a mutation or the
tests fail without one.

    python -m tests.mutations                   # all, in about ten minutes
    python -m tests.mutations own-up clock-skew # some, by their names
    python -m tests.mutations --safety          # those of docs/safety.md, in two minutes
    python -m tests.mutations --rows            # the rows of the table in docs/protocol.md

Names beside --safety or --rows are of that page.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutations.guards import MUTATIONS, SAFETY, SURVIVED_TOGETHER
from tests.mutations.mutation import ROOT, MovedError, Mutation

TREE = ("agent", "tools", "tests", "docs", "packer", "systemd", "pyproject.toml", "CHANGELOG.md")
MOST_SECONDS = 60
"""How long one test may take; one that hangs has noticed, too."""

_FAILED = re.compile(r"^(?:FAILED|ERROR) tests/\S*?::(\w+)", re.MULTILINE)
_NODE = re.compile(r"^(?:FAILED|ERROR) tests/(\S*?::\w+)", re.MULTILINE)
_FAILURES, _OTHER_TROUBLE = 1, 2


class TestsBrokenError(Exception):
    """The tests cannot say anything: they do not start, or fail without a mutation."""


@dataclass(frozen=True)
class Outcome:
    """What came of one mutation; `by` is the first test that failed, empty if none did."""

    mutation: Mutation
    by: str
    seconds: float

    def line(self) -> str:
        """Return it as a line of the table."""
        what = f"killed by {self.by}" if self.by else "SURVIVED"
        return f"{self.mutation.name:<36} {self.seconds:5.1f} s  {what}"


@dataclass(frozen=True)
class Copy:
    """A copy of the tree in which mutations are tried."""

    root: Path

    def make(self) -> None:
        """Copy everything that tests need."""
        ignore = shutil.ignore_patterns("__pycache__", ".hypothesis", ".*_cache")
        for name in TREE:
            there = ROOT / name
            if there.is_dir():
                shutil.copytree(there, self.root / name, ignore=ignore)
            else:
                shutil.copy(there, self.root / name)

    def check(self, mutations: Iterable[Mutation]) -> None:
        """Raise TestsBrokenError if the tests fail although every guard is there.

        A test that fails once, on a busy machine, is given a second chance.
        """
        tests = dict.fromkeys(test for mutation in mutations for test in mutation.tests)
        done = self._pytest(list(tests), "--maxfail=1000")
        if done.returncode == _FAILURES:
            failed = dict.fromkeys(_NODE.findall(done.stdout))
            done = self._pytest(list(failed), "--maxfail=1")
        if done.returncode:
            raise TestsBrokenError(f"without any mutation the tests fail:\n{done.stdout[-3000:]}")

    def try_out(self, mutation: Mutation) -> Outcome:
        """Break one guard, run its tests, and put it back."""
        begun = time.monotonic()
        path = self.root / mutation.file
        whole = path.read_text()
        mutation.apply(self.root)
        try:
            done = self._pytest(mutation.tests, "--maxfail=1")
        finally:
            path.write_text(whole)
        if done.returncode not in {0, _FAILURES}:
            raise TestsBrokenError(f"{mutation.name}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        failed = _FAILED.search(done.stdout)
        by = "" if done.returncode == 0 else failed[1] if failed else "a test that hung"
        return Outcome(mutation, by, time.monotonic() - begun)

    def _pytest(self, tests: Sequence[str], until: str) -> subprocess.CompletedProcess[str]:
        # Not from caches: a mutation may leave the file's size and its second as they were.
        paths = os.pathsep.join(str(self.root / name) for name in ("agent", "tools"))
        variables = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        words = ("-m", "pytest", until, "-q", "-p", "no:cacheprovider", "--force-reruns=0")
        return subprocess.run(
            [sys.executable, *words, f"--timeout={MOST_SECONDS}", *(f"tests/{t}" for t in tests)],
            check=False,
            cwd=self.root,
            env=os.environ | variables,
            capture_output=True,
            text=True,
        )


def read_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `mutations` are those that it asks for. A wrong name exits with 2."""
    parser = make_parser()
    options = parser.parse_args(words)
    page, asked = ("safety", SAFETY) if options.safety else ("protocol", MUTATIONS)
    for mutation in options.names if options.safety or options.rows else ():
        if mutation not in asked:
            parser.error(f"{mutation.name} is not of docs/{page}.md")
    options.mutations = options.names or asked
    return options


def try_all(mutations: Sequence[Mutation]) -> int:
    """Try mutations in a copy of the tree, print what came of each, and return the exit status."""
    survived = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Copy(Path(folder))
        copy.make()
        for mutation in mutations:
            mutation.applied((copy.root / mutation.file).read_text())
        copy.check(mutations)
        for mutation in mutations:
            outcome = copy.try_out(mutation)
            say(outcome.line())
            survived += [] if outcome.by else [mutation.name]
    killed = len(mutations) - len(survived)
    say(f"{killed} of {len(mutations)} killed ({100 * killed / len(mutations):.1f} %)")
    if early := [m for m in mutations if m.name in SURVIVED_TOGETHER]:
        left = [m for m in early if m.name in survived]
        seen = len(early) - len(left)
        say(f"of the {len(early)} that no test of the first engine noticed: {seen}")
    return _FAILURES if survived else 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status."""
    options = read_options(words)
    if options.rows:
        for mutation in options.mutations:
            say(mutation.row)
        return 0
    try:
        return try_all(options.mutations)
    except (MovedError, TestsBrokenError) as error:
        say(str(error))
        return _OTHER_TROUBLE


def _named(name: str) -> Mutation:
    for mutation in (*MUTATIONS, *SAFETY):
        if mutation.name == name:
            return mutation
    raise argparse.ArgumentTypeError(f"there is no mutation {name}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", type=_named, help="of a mutation")
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--rows", action="store_true", help="print the rows of docs/protocol.md")
    page.add_argument("--safety", action="store_true", help="those of docs/safety.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
