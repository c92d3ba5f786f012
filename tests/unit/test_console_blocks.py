"""Every command line that a page shows is one that can be typed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.console_blocks import Block, blocks

from parallelize import cli

BLOCKS = blocks()


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
