"""The console blocks of the pages: what a reader types, and what a line of it calls."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
INNER = re.compile(r"\$\((parallelize [^)]*)\)")
BETWEEN = {"&&", "||", "|", ";", ">", "2>", "<"}


@dataclass(frozen=True)
class Block:
    """One block; `line` is where it begins in its page, from 1."""

    page: str
    line: int
    text: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    def typed(self) -> list[str]:
        """Return the command lines, each whole, without the prompt."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]

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


def blocks() -> list[Block]:
    """Return all blocks of all pages."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found = []
    for page in listed.stdout.split():
        text = (ROOT / page).read_text()
        found += [
            Block(page, text.count("\n", 0, match.start()) + 1, match[1])
            for match in BLOCK.finditer(text)
        ]
    return found
