"""The console blocks of the pages: what a reader types, and what a line of it calls.

The comment above a block says which test types it (`<!-- run: NAME -->`), or why none does
(`<!-- not run: REASON -->`). `python -m tests.console_blocks` counts them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(?:^<!-- (run|not run): ([^\n]+) -->\n)?^```console\n(.*?)^```", re.MULTILINE | re.DOTALL
)
INNER = re.compile(r"\$\((parallelize [^)]*)\)")
BETWEEN = {"&&", "||", "|", ";", ">", "2>", "<"}


@dataclass(frozen=True)
class Block:
    """One block; `line` is where it begins in its page, from 1.

    `name` is what a test asks for it by, `not_run` is why none does. One of them is empty.
    """

    page: str
    line: int
    text: str
    name: str
    not_run: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    def typed(self) -> list[str]:
        """Return the command lines, each whole, without the prompt."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]

    def printed(self) -> list[str]:
        """Return what the block shows as printed, line by line."""
        joined = self.text.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if not line.startswith("$ ")]

    def calls(self) -> list[list[str]]:
        """Return the words of each call of parallelize in it."""
        return [call for line in self.typed() for call in _calls(line)]


def _calls(line: str) -> Iterator[list[str]]:
    for inner in INNER.findall(line):
        yield from _calls(inner)
    lexer = shlex.shlex(INNER.sub("", line), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    call: list[str] = []
    for word in [*lexer, ";"]:
        if word not in BETWEEN:
            call.append(word)
            continue
        if call and Path(call[0]).name == "parallelize":
            yield call[1:]
        call = []


def pages() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return listed.stdout.split()


def blocks() -> list[Block]:
    """Return all blocks of all pages."""
    return [block for page in pages() for block in blocks_of(page, (ROOT / page).read_text())]


def blocks_of(page: str, text: str) -> Iterator[Block]:
    for match in BLOCK.finditer(text):
        mark, said, body = match.groups()
        line = text.count("\n", 0, match.start(3))
        yield Block(
            page, line, body,
            name=said if mark == "run" else "", not_run=said if mark == "not run" else "",
        )  # fmt: skip


def named(name: str) -> Block:
    """Return the block that a page has a test run by this name."""
    [found] = [block for block in blocks() if block.name == name]
    return found


def runs(*names: str) -> pytest.MarkDecorator:
    """Mark a test as the one that types the blocks of these names."""
    return pytest.mark.runs_blocks(*names)


def summary(found: list[Block]) -> Iterator[str]:
    """Tell how many blocks are typed by a test, and why the others are not."""
    run = sum(bool(block.name) for block in found)
    shown = len({block.page for block in found})
    yield f"{len(found)} console blocks on {shown} pages, all parsed; {run} run as typed"
    for reason, count in Counter(b.not_run.partition(";")[0] for b in found if b.not_run).items():
        yield f"  {count} not run: {reason}"


if __name__ == "__main__":
    print("\n".join(summary(blocks())))
