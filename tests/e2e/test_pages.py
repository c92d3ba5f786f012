"""What the pages have a newcomer type first is typed here, word for word."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from tests.console_blocks import Block, blocks
from tests.e2e.conftest import Shell, only_local

pytestmark = [pytest.mark.timeout(400), only_local]


@pytest.fixture
def newcomer(shell: Shell) -> Iterator[Shell]:
    """A shell in which no run is called demo, as the pages call theirs."""
    yield shell
    shell.run("clean", "--local", "--run", "demo", "--join", "--yes", "--force")


def block(page: str, begins: str) -> Block:
    """Return the block of a page whose first command line begins so."""
    [found] = [one for one in blocks() if one.page == page and one.typed()[0].startswith(begins)]
    return found


def type_in(shell: Shell, *wanted: Block) -> str:
    """Type blocks into one shell, which ends at the first error; return what is printed."""
    lines = ["set -e", *(line for one in wanted for line in one.typed())]
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=shell.folder, check=False, text=True,
        env={**shell.environ, "BROWSER": "true"}, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_five_minutes_of_the_readme_work_as_they_stand(newcomer: Shell) -> None:
    activate = newcomer.folder / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    first = block("README.md", ". .venv/bin/activate")
    line = block("README.md", "parallelize run --local -- gzip")
    assert "attempt 1 on" in type_in(newcomer, first, line)
    out = newcomer.folder / "demo" / "out"
    assert (out / "nature" / "sunspots.summary.csv").is_file()
    assert (out / "inputs" / "nature" / "sunspots.csv.gz").is_file()


def test_what_programs_are_told_to_type_gives_them_json(newcomer: Shell) -> None:
    printed = type_in(newcomer, block("docs/agents.md", "parallelize init demo"))
    folder = newcomer.folder / "demo"
    assert json.loads(printed.splitlines()[-1])["result"]["status"] == "succeeded"
    run, failures, log = (
        json.loads((folder / name).read_text())
        for name in ("run.json", "failures.json", "log.json")
    )
    assert (run["state"], run["done"], run["out"]) == ("drained", 17, str(folder / "out"))
    assert failures == []
    assert [(one["attempt"], one["cause"]) for one in log] == [(1, None)]
