"""The glossary of CONTRIBUTING holds: its names are there, and what it refuses is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| ([a-z ]+) \| .+ \| `([\w.]+)\.(\w+)` \|$", re.MULTILINE)
GLOSSARY = ROW.findall((ROOT / "CONTRIBUTING.md").read_text())

REFUSED = {
    "brakes", "brisk", "bury", "departure", "duties", "fate", "gather", "gist", "kin", "strangers",
    "surplus", "timetable", "whereabouts", "which", "workplace", "anew", "mend", "whoever",
}  # fmt: skip
"""Words of an earlier version, for which the field has others."""

PROSE = re.compile(
    r"\b(?:whoever|anew|mend(?:s|ing)?|so many (?:more|seconds|days|jobs|files)|for ever"
    r"|at the most|as a rule|time and again|of its own accord|goes off|bur(?:y|ied)|beside machines"
    r"|(?:that|what|which|it) (?:is|are) no (?!longer|more|other|need|one|way|room|reason)\w+)\b"
)
"""What native readers stumble over, in messages, docstrings and pages."""

TELEGRAM = re.compile(r"(?<=[.?] )Else\b(?! if)")
"""Sentences that begin so are a program's, and no reader's: Otherwise."""


def sources() -> Iterator[Path]:
    for folder in ("agent", "tools"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


def words_of(name: str) -> list[str]:
    """Return the words that a name is made of, in small letters."""
    return [word.lower() for word in re.split("_|(?<=[a-z])(?=[A-Z])", name)]


def test_the_glossary_has_each_word_once() -> None:
    words = [word for word, _, _ in GLOSSARY]
    assert len(words) == len(set(words)) > 25


@pytest.mark.parametrize(("word", "module", "name"), GLOSSARY)
def test_a_word_of_the_glossary_has_its_name_in_the_code(word: str, module: str, name: str) -> None:
    assert getattr(import_module(module), name).__doc__


@pytest.mark.parametrize("file", list(sources()), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_name_is_made_of_a_word_that_is_refused(file: Path) -> None:
    found = {file.stem, *names(ast.parse(file.read_text()))}
    assert {name for name in found if REFUSED.intersection(words_of(name))} == set()


def pages() -> Iterator[Path]:
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md"))
    yield from sorted((ROOT / "docs").glob("*.md"))
    yield from sources()
    yield from sorted((ROOT / "tools").rglob("*.j2"))
    yield from sorted((ROOT / "tools").rglob("*.yaml"))


@pytest.mark.parametrize("file", list(pages()), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_text_has_a_word_over_which_readers_stumble(file: Path) -> None:
    # A test's name is not prose.
    text = " ".join(re.sub(r"\btest_\w+", "", file.read_text()).split())
    assert PROSE.findall(text.lower()) == []
    assert TELEGRAM.findall(text) == []
