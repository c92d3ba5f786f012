"""Every kind of job from one command: the examples, and what is done with one job of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.e2e.conftest import REPOSITORY, Shell

pytestmark = pytest.mark.timeout(400)  # on a busy machine; alone it takes a fraction of this


@pytest.fixture
def shell(shell: Shell) -> Shell:
    """A shell as a newcomer has it, where leases are as long as they are by default."""
    kept = {name: value for name, value in shell.environ.items() if "AGENT_LEASE" not in name}
    return Shell(shell.folder, kept)


def example(shell: Shell, name: str) -> None:
    shutil.copytree(REPOSITORY / "examples" / name, shell.folder, dirs_exist_ok=True)


def outputs(folder: Path) -> dict[str, str]:
    return {
        "/".join(
            part.partition("~")[0] for part in path.relative_to(folder).parts
        ): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_each_row_of_a_sheet_is_a_job_with_its_file_and_its_variables(shell: Shell) -> None:
    example(shell, "rows")
    shell.run("run", "--local", "--joblog", "jobs.log")
    assert outputs(shell.folder / "out") == {
        "station=Brno,unit=C/Brno.txt": "21 C\n17 C\n",
        "station=Oslo,unit=F/Oslo.txt": "37.4 F\n24.8 F\n",
        "station=Bari,unit=C/Bari.txt": "3 C\n-4 C\n",
    }
    header, *lines = (shell.folder / "jobs.log").read_text().splitlines()
    assert header.startswith("Seq\tHost\tStarttime")
    assert {line.rpartition("\t")[2] for line in lines} == {
        "./convert.sh data/brno.csv Brno.txt",
        "./convert.sh data/oslo.csv Oslo.txt",
        "./convert.sh data/oslo.csv Bari.txt",
    }

    # Nothing is done twice, and one of them is looked at by its first column.
    shell.run("run", "--local", "--joblog", "jobs.log")
    [attempt] = shell.json("logs", "station=Oslo", "--local")
    assert attempt["attempt"] == 1
    assert len(shell.json("report", "--local")["files"]) == 3

    [made] = shell.json("check", "station=Oslo")["outputs"]
    assert Path(made).read_text() == "37.4 F\n24.8 F\n"
    [again] = shell.json("repro", "station=Oslo", "--local")["outputs"]
    assert Path(again).read_text() == "37.4 F\n24.8 F\n"


def test_each_line_is_a_job(shell: Shell) -> None:
    example(shell, "lines")
    shell.run("run", "--local")
    assert outputs(shell.folder / "out") == {
        "pneumatic/letters.txt": "pneumatic has 9 letters\n",
        "red_herring/letters.txt": "red herring has 10 letters\n",
    }


def test_each_combination_of_a_grid_is_a_job(shell: Shell) -> None:
    example(shell, "grid")
    shell.run("run", "--local")
    found = {name: json.loads(text) for name, text in outputs(shell.folder / "out").items()}
    assert set(found) == {
        f"steps={steps},seed={seed}/pi.json" for steps in (100, 1000) for seed in (1, 2, 3)
    }
    assert all(2 < one["pi"] < 4 for one in found.values())
    [made] = shell.json("check", "steps=100,seed=2")["outputs"]
    assert json.loads(Path(made).read_text()) == found["steps=100,seed=2/pi.json"]


def test_each_sample_is_a_job_with_its_pair_and_is_retried_with_it(shell: Shell) -> None:
    example(shell, "pairs")
    script = shell.folder / "interleave.sh"
    whole = script.read_text()
    script.write_text(whole.replace("set -eu", '[ "$PARALLELIZE_VAR_SAMPLE" = TEST0 ] && exit 65'))
    shell.run("run", "--local", code=1)
    assert [failure["key"] for failure in shell.json("failures", "--local")] == ["test/TEST0"]
    script.write_text(whole)
    shell.run("retry", "TEST0", "--local")
    shell.run("run", "--local", "--changed", "keep")  # SAMPLE1 is done, by the old script
    found = outputs(shell.folder / "out")
    assert set(found) == {"SAMPLE1/SAMPLE1.fastq", "test/TEST0/TEST0.fastq"}
    assert found["test/TEST0/TEST0.fastq"].splitlines()[:2] == ["@TEST0/1", "@TEST0/2"]
    [again] = shell.json("repro", "TEST0", "--local")["outputs"]
    assert Path(again).read_text() == found["test/TEST0/TEST0.fastq"]


def test_each_folder_is_a_job(shell: Shell) -> None:
    example(shell, "folders")
    shell.run("run", "--local")
    assert outputs(shell.folder / "out") == {"north/total.txt": "6\n", "south/total.txt": "5\n"}


def test_small_files_are_packed_and_their_outputs_lie_as_without(shell: Shell) -> None:
    example(shell, "packs")
    shell.run("run", "--local")
    assert outputs(shell.folder / "out") == {
        f"{number:02d}.loud": f"LINE {number}\n" for number in range(1, 11)
    }
    assert len(shell.json("report", "--local")["files"]) == 3


def test_one_line_with_a_grid_names_its_outputs(shell: Shell) -> None:
    (shell.folder / "a b.txt").write_text("x\ny\nz\n")
    line = ("--", "head", "-n", "{lines}", "{}", ":::", "a b.txt")
    shell.run("run", "--local", "--grid", "lines=1..2", "--run", "heads", *line)
    logs = {
        name: shell.json("logs", name, "--local", "--run", "heads")[0]["log"]
        for name in ("lines=1", "lines=2")
    }
    assert logs == {"lines=1": "x\n", "lines=2": "x\ny\n"}


def test_one_line_needs_no_files_with_a_grid(shell: Shell) -> None:
    shell.run("run", "--local", "--grid", "n=1..2", "--", "touch", "{n}-{#}.made")
    assert set(outputs(shell.folder / "out")) == {"n=1/1-1.made", "n=2/2-2.made"}
