"""One file, here: as the settings would have it (`check`), and as the run had it (`repro`)."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Shell, only_local

pytestmark = [
    pytest.mark.timeout(400),  # on a busy machine; alone it takes a fraction of this
    only_local,
]

TABLE = "nature/penguins.csv"
SUMMARY = "nature/penguins.summary.csv"


@pytest.fixture
def example(shell: Shell) -> Iterator[Path]:
    shell.run("init", "--example")
    yield shell.folder
    shell.run("local", "stop")


def test_a_check_does_what_the_run_does_to_that_file_and_leaves_nothing(
    shell: Shell, example: Path
) -> None:
    printed = shell.run("check", f"inputs/{TABLE}", "--out", "tried")
    assert printed.split() == [str(Path("tried") / SUMMARY)]
    shell.run("status", "--local", code=2)  # there is no run yet
    assert {machine["state"] for machine in shell.machines()} == {"terminated"}

    shell.run("run", "--local", "--out", "out")
    assert (example / "tried" / SUMMARY).read_bytes() == (example / "out" / SUMMARY).read_bytes()


def test_a_check_of_a_command_that_fails_ends_with_1_and_shows_what_it_printed(
    shell: Shell, example: Path
) -> None:
    command = "sh -c 'echo the header is bad >&2; exit 3'"
    printed = json.loads(shell.run("check", TABLE, "--command", command, "--json", code=1))
    assert printed["outputs"] == []
    assert printed["result"]["exit_code"] == 3
    assert printed["result"]["log"] == "the header is bad\n"
    assert not (example / "check").exists()


def test_a_job_is_repeated_with_the_runs_own_input_and_environment(
    shell: Shell, example: Path
) -> None:
    shell.run("run", "--local", "--out", "out")
    before = shell.status()
    shutil.rmtree(example / "inputs")
    shutil.rmtree(example / "env")
    settings = example / "parallelize.toml"
    settings.write_text(f"schema = 1\n[run]\nname = '{before['run']}'\ncommand = 'false'\n")

    printed = shell.run("repro", "penguins.csv", "--local")
    [output] = printed.split()
    assert Path(output).read_bytes() == (example / "out" / SUMMARY).read_bytes()
    assert (example / "repro" / "input" / TABLE).is_file()
    assert (example / "repro" / "environment.zip").is_file()
    assert shell.status() | {"as_of": ""} == before | {"as_of": ""}


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/sh\nonly-here > o.txt && echo o.txt\n",
        "#!/usr/bin/env python3\nimport subprocess\nsubprocess.run(['only-here'], check=True)\n",
        "#!/usr/bin/env only-here\n",
    ],
)
def test_a_program_that_only_this_machine_has_fails_the_check_and_is_named(
    shell: Shell, example: Path, script: str
) -> None:
    mine = example / "mine"
    mine.mkdir()
    (mine / "only-here").write_text("#!/bin/sh\necho from my own machine\n")
    (mine / "only-here").chmod(0o755)
    (example / "env" / "job.sh").write_text(script)
    (example / "env" / "job.sh").chmod(0o755)
    path = f"{mine}:{shell.environ['PATH']}"
    here = Shell(example, shell.environ | {"PATH": path})
    process = here.start("check", TABLE, "--command", "./job.sh")
    _, said = process.communicate()
    assert process.returncode == 1
    assert "found on this machine, but missing on workers: only-here" in " ".join(said.split())
