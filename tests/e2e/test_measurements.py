"""Runs the measurements and searches that pages show, with little to do.

With CONSOLE_BLOCKS=all, it runs each block as it stands, in a test of its own:

    CONSOLE_BLOCKS=all pytest tests/e2e/test_measurements.py

That takes hours on a machine that does nothing else, and installs programs to compare with.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.console_blocks import ROOT, Block, blocks, named, runs
from tests.e2e.conftest import PROGRAM, Shell, only_local
from tests.functional.watching.browser import PROGRAM as BROWSER

ALL = os.environ.get("CONSOLE_BLOCKS") == "all"
PAGE = "docs/performance.md"
MARKS = {"run with", "run if asked"} if ALL else {"run with"}
CHOSEN = [block for block in blocks() if block.mark in MARKS]

COPY = """
git ls-files -z | xargs -0 cp --parents --target-directory "$TO"
git -C "$TO" init --quiet
git -C "$TO" add --all
"""

pytestmark = [pytest.mark.timeout(0 if ALL else 300), only_local]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A copy of the repository, so lines may write into its pages; they import its `tests`, too.

    OLD and NEW are the environment of this Python.
    """
    folder = tmp_path_factory.mktemp("tree")
    subprocess.run(
        ["bash", "-euc", COPY], cwd=ROOT, check=True, env=os.environ | {"TO": str(folder)}
    )
    for name in ("OLD", "NEW"):
        (folder / name).symlink_to(sys.prefix)
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    kept.pop("CONSOLE_BLOCKS", None)  # some lines run these tests
    path = f"{PROGRAM.parent}:{kept['PATH']}"
    return Shell(folder, kept | {"PATH": path, "HOME": str(home), "PYTHON": sys.executable})


@pytest.mark.parametrize("block", CHOSEN, ids=lambda block: block.id)
def test_a_measurement_or_a_search_does_what_its_page_says(block: Block, tree: Shell) -> None:
    if "tests.bench.pages" in block.text and not BROWSER:
        pytest.skip("needs chromium")
    for line in block.typed() if ALL else block.in_small():
        type_one(tree, re.sub(r"(?<= )N(?= |$)", "1", line))


def type_one(tree: Shell, line: str) -> None:
    """Type a line; it must print something, or change the page, and write the file it names."""
    before = (tree.folder / PAGE).stat().st_mtime_ns
    for file in (named_files := re.findall(r"--json (\S+)", line)):
        (tree.folder / file).unlink(missing_ok=True)
    printed = tree.type(line).stdout
    assert printed or (tree.folder / PAGE).stat().st_mtime_ns > before or "pip install" in line
    assert all((tree.folder / Path(file)).stat().st_size for file in named_files)


@runs("the table of scales", "the former design", "the scales in the page")
def test_the_fleets_that_are_simulated_are_those_of_the_page(tree: Shell) -> None:
    [scales], [former], [page] = (
        named(name).typed()
        for name in ("the table of scales", "the former design", "the scales in the page")
    )
    head, *rows = tree.type(scales).stdout.splitlines()
    before = (tree.folder / PAGE).read_text()
    assert head in before
    assert len(tree.type(former).stdout.splitlines()) == 1 + len(rows)
    tree.type(page)
    after = (tree.folder / PAGE).read_text()
    assert all(row in after for row in rows)
    assert after.count("\n") == before.count("\n")


@runs("the gap that remains")
def test_the_search_finds_the_gap_that_the_page_admits(tree: Shell) -> None:
    verdict, *steps = tree.type(*named("the gap that remains").typed(), code=1).stdout.splitlines()
    assert "nothing is wrong" not in verdict
    assert steps[-1].endswith("crashes")
