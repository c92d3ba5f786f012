"""Every command line that a page shows is one that can be typed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.console_blocks import ROOT, Block, blocks, blocks_of, pages, summary
from tests.e2e import test_dependencies, test_examples, test_pages

from parallelize import cli

BLOCKS = blocks()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_a_block_is_run_or_says_why_not(block: Block) -> None:
    assert block.name or block.not_run


def test_each_block_that_is_run_has_the_one_test_that_types_it() -> None:
    typed = [
        name
        for module in (test_dependencies, test_examples, test_pages)
        for test in vars(module).values()
        for mark in getattr(test, "pytestmark", [])
        if mark.name == "runs_blocks"
        for name in mark.args
    ]
    assert sorted(typed) == sorted(block.name for block in BLOCKS if block.name)


@pytest.mark.parametrize("page", pages())
def test_no_command_is_shown_outside_of_a_console_block(page: str) -> None:
    text = (ROOT / page).read_text()
    assert re.findall(r"^    (?:python|pip|pytest|parallelize) .*$", text, re.MULTILINE) == []


def test_blocks_and_the_reasons_of_those_that_are_not_run_are_counted() -> None:
    text = """
<!-- run: it -->
```console
$ parallelize runs
```

<!-- not run: needs a moon; look up -->
```console
$ parallelize prep
```
"""
    assert list(summary(list(blocks_of("page.md", text)))) == [
        "2 console blocks on 1 pages, all parsed; 1 run as typed",
        "  1 not run: needs a moon",
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_the_commands_of_a_page_are_understood(block: Block) -> None:
    assert block.typed()
    for words in block.calls():
        if words[0] == "help":
            assert words[1] in {"exit-codes", *(command.name for command in cli.COMMANDS)}
            continue
        cli.make_app().parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_the_command_lines_of_a_page_are_lines_of_a_shell(block: Block) -> None:
    script = "\n".join(block.typed())
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_a_program_of_the_repository_that_a_page_calls_is_there(block: Block) -> None:
    root = Path(__file__).parents[2]
    for line in block.typed():
        for word in line.split():
            if word.startswith("tests.bench."):
                place = root / word.replace(".", os.sep)
                assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
            if word.startswith(("tests/", "tools/", ".ci/")):
                assert (root / word).exists()
