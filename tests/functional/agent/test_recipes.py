"""The recipes of docs/dependencies.md that no other test runs, as they stand there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.functional.agent.conftest import MakeBench

from parallelize_core.run import Setup

PAGE = Path(__file__).parents[3] / "docs" / "dependencies.md"
SHARED_REPOSITORY = r'"https://packagemanager[^"]*"'

MAKE_REPOSITORY = """
dir.create("src/contrib", recursive = TRUE)
file.copy(list.files(pattern = "[.]tar[.]gz$"), "src/contrib")
tools::write_PACKAGES("src/contrib", type = "source")
"""

needs_r = pytest.mark.skipif(not shutil.which("Rscript"), reason="Rscript is not installed")


def block(language: str, name: str) -> str:
    """Return the block of the page whose second line says that it is the file `name`."""
    found = re.search(
        rf"```{language}\n(#![^\n]*\n# {re.escape(name)}.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert found, f"docs/dependencies.md has no {name}"
    return found[1]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of R packages with one, which has the name of the recipe's."""
    source = tmp_path / "data.table"
    (source / "R").mkdir(parents=True)
    (source / "R" / "code.R").write_text("answer <- function() 42\n")
    (source / "NAMESPACE").write_text("export(answer)\n")
    (source / "DESCRIPTION").write_text(
        "Package: data.table\nVersion: 1.0\nTitle: A\nDescription: A stand-in.\nLicense: GPL-2\n"
        "Author: A\nMaintainer: A <a@example.org>\n"
    )
    folder = tmp_path / "repository"
    folder.mkdir()
    for words in (["R", "CMD", "build", source], ["Rscript", "-e", MAKE_REPOSITORY]):
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return folder


@needs_r
def test_an_r_package_is_installed_by_the_set_up_and_found_by_the_job(
    make: MakeBench, repository: Path
) -> None:
    setup = re.sub(SHARED_REPOSITORY, f'"file://{repository}"', block("sh", "env/setup.sh"))
    files = {"setup.sh": setup, "job.R": block("r", "env/job.R")}
    bench = make('exec ./job.R "$1"', files=files, setup=Setup(command=("./setup.sh",)))
    bench.add({"x": b"one\ntwo\n"})
    bench.run()
    assert bench.output("rows.txt") == b"rows: 2\n"


@needs_r
def test_an_r_package_that_is_nowhere_ends_the_set_up_with_its_name(
    make: MakeBench, repository: Path
) -> None:
    setup = block("sh", "env/setup.sh").replace("data.table", "nonesuch")
    files = {"setup.sh": re.sub(SHARED_REPOSITORY, f'"file://{repository}"', setup)}
    bench = make("true", files=files, setup=Setup(command=("./setup.sh",)))
    bench.add({"x": b""})
    departure = bench.run()
    assert departure.error
    assert "nonesuch" in (departure.error.why or "")
