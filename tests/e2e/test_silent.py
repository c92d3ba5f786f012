"""A script that writes a file and says nothing of it: told, paused, and delivered by a glob."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Shell, only_local

pytestmark = [
    pytest.mark.timeout(400),  # on a busy machine; alone it takes a fraction of this
    only_local,
]

FILES = 40
SCRIPT = '#!/bin/sh\ntr a-z A-Z < "$1" > "$(basename "$1" .txt).upper"\nsleep 0.2\n'


@pytest.fixture
def shell(shell: Shell) -> Shell:
    """Let leases be as long as they are: what is lost on a busy machine is done once more."""
    given = {k: v for k, v in shell.environ.items() if k != "PARALLELIZE_AGENT_LEASE"}
    return Shell(shell.folder, given)


@pytest.fixture
def project(shell: Shell) -> Iterator[Path]:
    (shell.folder / "env").mkdir()
    (shell.folder / "env/job.sh").write_text(SCRIPT)
    (shell.folder / "env/job.sh").chmod(0o755)
    (shell.folder / "inputs").mkdir()
    for number in range(FILES):
        (shell.folder / f"inputs/f{number:02}.txt").write_text(f"file {number}\n")
    settings = shell.folder / "parallelize.toml"
    # The local cloud keeps the runs of all tests.
    name = shell.folder.name
    settings.write_text(f'[run]\nname = "{name}"\ncommand = "./job.sh"\nenv = "env/"\n')
    yield settings
    shell.run("local", "stop")


def told(shell: Shell, *words: str, code: int) -> str:
    process = shell.start(*words)
    stdout, stderr = process.communicate()
    assert process.returncode == code, f"{words}: {stdout}\n{stderr}"
    return " ".join(stderr.split())


def test_the_run_is_paused_then_done_as_it_was_meant(shell: Shell, project: Path) -> None:
    said = told(shell, "check", "f00.txt", code=1)
    assert "f00.upper was left in the scratch folder and not delivered" in said

    said = told(shell, "run", "--local", "--workers", "1", code=1)
    assert "the run is paused: the first" in said
    assert "files succeeded but produced no output" in said
    assert "left in the scratch folder and not delivered" in said
    status = shell.status()
    assert 20 <= status["without_output"] == status["done"] <= 30

    project.write_text(project.read_text() + '\n[output]\ncollect = "*.upper"\n')
    shell.run("check", "f00.txt")
    told(shell, "retry", "--silent", "--local", code=0)
    shell.run("run", "--local")
    made = sorted(path.name for path in (shell.folder / "out").iterdir())
    assert made == [f"f{number:02}.upper" for number in range(FILES)]
    assert (shell.folder / "out/f07.upper").read_text() == "FILE 7\n"


def test_a_run_that_needs_no_outputs_ends_well_when_that_is_said(
    shell: Shell, project: Path
) -> None:
    told(shell, "run", "--local", code=1)
    project.write_text(project.read_text() + "require_output = false\n")
    said = told(shell, "run", "--local", code=0)
    assert "no output" not in said
    assert shell.status()["done"] == FILES
