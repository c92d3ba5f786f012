"""Every command line that a page shows is one that can be typed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
from tests.console_blocks import (
    ROOT,
    Block,
    ProgramCall,
    blocks,
    blocks_of,
    pages,
    program_calls,
    summary,
)
from tests.e2e import (
    test_containers,
    test_dependencies,
    test_examples,
    test_measurements,
    test_pages,
)

from parallelize import cli

BLOCKS = blocks()
MODULES = (test_containers, test_dependencies, test_examples, test_measurements, test_pages)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_a_block_is_run_or_says_why_not(block: Block) -> None:
    assert block.mark


def test_each_block_that_is_run_has_the_one_test_that_types_it() -> None:
    typed = [
        name
        for module in MODULES
        for test in vars(module).values()
        for mark in getattr(test, "pytestmark", [])
        if mark.name == "runs_blocks"
        for name in mark.args
    ]
    assert sorted(typed) == sorted(block.name for block in BLOCKS if block.name)


@pytest.mark.parametrize("page", pages())
def test_no_command_is_shown_outside_of_a_console_block(page: str) -> None:
    text = (ROOT / page).read_text()
    assert (
        re.findall(
            r"^    (?:(?:python|pip|pytest|parallelize) |tests/|\.ci/).*$", text, re.MULTILINE
        )
        == []
    )


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

1. In a list:

   <!-- not run: needs a moon -->
   ```console
   $ VARIABLE=1 python -m tests.bench.tree
   $ python -m tests.bench.warm --files 1 | less
   ```

<!-- run with --files 1: takes long; so the page has its figures -->
```console
$ pip install what-it-compares
$ python -m tests.bench.warm --files \\
    5000    # a minute
```

<!-- run if asked: takes long -->
```console
$ python -m tests.mutations
```
"""
    found = list(blocks_of("page.md", text))
    assert list(summary(found)) == [
        "5 console blocks on 1 pages: 1 run as typed",
        "  1 run with little to do, and as typed with CONSOLE_BLOCKS=all",
        "  1 run only with CONSOLE_BLOCKS=all, as typed",
        "  1 run with: takes long",
        "  1 run if asked: takes long",
        "  2 not run: needs a moon",
        "  1 are neither run nor parsed: page.md:15",
    ]
    assert found[3].in_small() == ["python -m tests.bench.warm --files      5000 --files 1"]


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
            if word.startswith(("tests/", "tools/", ".ci/")):
                assert (root / word).exists()


@pytest.mark.parametrize("call", sorted(program_calls(), key=str), ids=str)
def test_a_program_understands_the_words_that_a_text_calls_it_with(call: ProgramCall) -> None:
    """A program that reads no words has no parser, and none are shown."""
    name = f"{call.module}.__main__" if spec_is_package(call.module) else call.module
    program = importlib.import_module(name)
    if hasattr(program, "make_parser"):
        program.make_parser().parse_args(call.words)
    else:
        assert call.words == ()


def spec_is_package(module: str) -> bool:
    found = importlib.util.find_spec(module)
    assert found, module
    return found.submodule_search_locations is not None


def test_programs_are_found_in_blocks_with_variables_in_usages_and_in_prose() -> None:
    found = set(map(str, program_calls()))
    assert "tests.bench.questions --files 1000 --json tests/bench/figures/questions.json" in found
    assert "tests.bench.seven_kinds 1" in found
    assert "tests.image.boot_time 5" in found
    assert "tests.bench.local_queue --lengths 1000" in found
