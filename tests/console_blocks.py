"""The console blocks of the pages: what a reader types, and what a line of it calls.

The comment above a block says which test types it (`<!-- run: NAME -->`), or why none does
(`<!-- not run: REASON -->`). Measurements and long searches run as they stand only with
CONSOLE_BLOCKS=all (`<!-- run if asked: REASON -->`). If options can leave them little to do, each
run of the tests types them with these (`<!-- run with OPTIONS: REASON -->`).
`python -m tests.console_blocks` counts them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(?:^ *<!-- (run|run with|run if asked|not run)(?: (-[^:\n]+|\d+))?: ([^\n]+) -->\n)?"
    r"^ *```console\n(.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)
INNER = re.compile(r"\$\((parallelize [^)]*)\)")
QUOTED = re.compile(r"`(python -m tests[^`]+)`")
INDENTED = "    python -m tests."
PROGRAM = re.compile(r"\bpython (?:-m (tests(?:\.[a-z_]+)+)|(tests/[a-z_/]+)\.py)(?: |$)")
BETWEEN = {"&&", "||", "|", ";", ">", "2>", "<"}


@dataclass(frozen=True)
class Block:
    """One block; `line` is where it begins in its page, from 1.

    `mark` is how it is run: "run", "run with", "run if asked", "not run", or nothing. `said` is the
    name by which a test finds it, or why none runs it as it stands. `options` leave little to do.
    """

    page: str
    line: int
    text: str
    mark: str
    said: str
    options: str = ""

    @property
    def name(self) -> str:
        return self.said if self.mark == "run" else ""

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    def typed(self) -> list[str]:
        """Return the command lines, each whole, without the prompt."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]

    def in_small(self) -> list[str]:
        """Return the lines that call programs of the repository, with the block's options added."""
        lines = (line.partition(" # ")[0] for line in self.typed())
        return [f"{line.rstrip()} {self.options}" for line in lines if PROGRAM.search(line)]

    def printed(self) -> list[str]:
        """Return what the block shows as printed, line by line."""
        joined = self.text.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if not line.startswith("$ ")]

    def calls(self) -> list[list[str]]:
        """Return the words of each call of parallelize in it."""
        return [
            call[1:]
            for line in self.typed()
            for call in _calls(line)
            if Path(call[0]).name == "parallelize"
        ]

    @property
    def parsed(self) -> bool:
        """Whether each of its commands is one whose own parser reads the words in a test."""
        return all(
            Path(call[0]).name == "parallelize" or any(_program_call(call))
            for line in self.typed()
            for call in _calls(line)
        )


@dataclass(frozen=True)
class ProgramCall:
    """A call of a program of the tests, `python -m MODULE WORDS`, as a text shows it."""

    module: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.module, *self.words))


def _calls(line: str) -> Iterator[list[str]]:
    """Return the words of each command of a line, which the shell would start."""
    for inner in INNER.findall(line):
        yield from _calls(inner)
    lexer = shlex.shlex(INNER.sub("", line), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    call: list[str] = []
    for word in [*lexer, ";"]:
        if word not in BETWEEN:
            call.append(word)
            continue
        if call:
            yield call
        call = []


def program_calls() -> set[ProgramCall]:
    """Return all that the pages, and the docstrings of the tests, show."""
    shown = [line for block in blocks() for line in (*block.typed(), *block.in_small())]
    for page in (*pages(), *_listed("tests/*.py")):
        text = (ROOT / page).read_text()
        shown += [found.replace("\n", " ") for found in QUOTED.findall(text)]
        shown += [line.strip() for line in text.splitlines() if line.startswith(INDENTED)]
    return {found for line in shown for call in _calls(line) for found in _program_call(call)}


def _program_call(call: list[str]) -> Iterator[ProgramCall]:
    """Return the call of a program of the tests that a command is, if it is one.

    In a usage, brackets and `...` say how often a word may stand there, and a word in capitals
    stands for a value.
    """
    line = re.sub(r"[][]|(?<= )\.\.\.", "", " ".join(call))
    if found := PROGRAM.search(line):
        words = [re.sub(r"^[A-Z]+$", "1", word) for word in line[found.end() :].split()]
        module = (found[1] or found[2]).replace("/", ".")
        yield ProgramCall(module, tuple(words))


def pages() -> list[str]:
    return _listed("*.md")


def _listed(pattern: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", pattern], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return listed.stdout.split()


def blocks() -> list[Block]:
    """Return all blocks of all pages."""
    return [block for page in pages() for block in blocks_of(page, (ROOT / page).read_text())]


def blocks_of(page: str, text: str) -> Iterator[Block]:
    for match in BLOCK.finditer(text):
        mark, options, said, body = (part or "" for part in match.groups())
        line = text.count("\n", 0, match.start(4))
        yield Block(page, line, textwrap.dedent(body), mark, said, options)


def named(name: str) -> Block:
    """Return the block that a page has a test run by this name."""
    [found] = [block for block in blocks() if block.name == name]
    return found


def runs(*names: str) -> pytest.MarkDecorator:
    """Mark a test as the one that types the blocks of these names."""
    return pytest.mark.runs_blocks(*names)


def summary(found: list[Block]) -> Iterator[str]:
    """Tell how many blocks are typed by a test, and why the others are not."""
    marks = Counter(block.mark for block in found)
    shown = len({block.page for block in found})
    yield f"{len(found)} console blocks on {shown} pages: {marks['run']} run as typed"
    yield f"  {marks['run with']} run with little to do, and as typed with CONSOLE_BLOCKS=all"
    yield f"  {marks['run if asked']} run only with CONSOLE_BLOCKS=all, as typed"
    for mark in ("run with", "run if asked", "not run"):
        reasons = Counter(b.said.partition(";")[0] for b in found if b.mark == mark)
        yield from (f"  {count} {mark}: {reason}" for reason, count in reasons.items())
    never = [block.id for block in found if block.mark == "not run" and not block.parsed]
    yield f"  {len(never)} are neither run nor parsed: {' '.join(never)}"


if __name__ == "__main__":
    print("\n".join(summary(blocks())))
