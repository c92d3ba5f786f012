"""`--joblog` has the columns of GNU parallel, and commands that a shell would read back."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.runs.files.joblog import command_of, joblog, write_lines
from parallelize_core.errors import UsageError
from parallelize_core.files import InputFile
from parallelize_core.layout import Location
from parallelize_core.manifest import Entry
from parallelize_core.result import Cause, Output, Result, Usage
from parallelize_core.run import Run

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def run(*command: str, template: bool = False, columns: tuple[str, ...] = ()) -> Run:
    return Run(
        v=2, name="r", command=command, template=template, columns=columns, created_at="",
        input=Location("b", "in/"), output=Location("b", "out/"),
    )  # fmt: skip


def result(key: str, code: int | None, *, ended: str = "2026-01-01T00:00:09Z") -> Result:
    return Result(
        run="r", key=key, attempt=1, worker="w1", started_at="2026-01-01T00:00:01.500Z",
        finished_at=ended, exit_code=code, usage=Usage(seconds=1.25),
        status="succeeded" if code == 0 else "failed", cause=None if code == 0 else Cause.COMMAND,
        outputs=(Output(key="o", size=5, sha256="", etag=""),) * (code == 0),
    )  # fmt: skip


def test_it_has_the_columns_of_gnu_parallel_and_jobs_in_the_order_of_their_ends() -> None:
    entries = [Entry(key="a b", size=3, etag=""), Entry(key="c", size=4, etag="")]
    results = [result("a b", 0), result("c", -9, ended="2026-01-01T00:00:02Z")]
    header, *lines = joblog(run("wc", "-l"), entries, results)
    assert header.rstrip("\n").split("\t") == [
        "Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command",
    ]  # fmt: skip
    assert [line.rstrip("\n").split("\t") for line in lines] == [
        ["2", "w1", "1767225601.500", "     1.250", "4", "0", "0", "9", "wc -l c"],
        ["1", "w1", "1767225601.500", "     1.250", "3", "5", "0", "0", "wc -l 'a b'"],
    ]


@pytest.mark.parametrize(("code", "cells"), [(7, ["7", "0"]), (None, ["-1", "0"])])
def test_exit_values_are_as_they_were(code: int | None, cells: list[str]) -> None:
    [_, line] = joblog(run("x"), [Entry(key="a", size=0, etag="")], [result("a", code)])
    assert line.split("\t")[6:8] == cells


def test_a_job_without_a_result_has_no_line() -> None:
    assert len([*joblog(run("x"), [Entry(key="a", size=0, etag="")], [])]) == 1


def test_the_command_has_its_files_and_variables_in_their_places() -> None:
    entry = Entry(
        key="A", size=2, etag="", number=7, variables={"lr": "0.1"},
        files=(InputFile(key="d/x.fq", size=1, column="reads"), InputFile(key="y", size=1)),
    )  # fmt: skip
    made = run("t", "{}", "{2}", "{lr}", "{reads/.}", "{#}", template=True, columns=("lr", "reads"))
    assert shlex.split(command_of(made, entry)) == ["t", "d/x.fq", "y", "y", "0.1", "x", "7"]


@given(cell=CELL)
def test_any_cell_is_one_word_on_one_line(cell: str) -> None:
    entry = Entry(key="k", size=0, etag="", files=(), variables={"x": cell})
    command = command_of(run("t", "{x}", template=True, columns=("x",)), entry)
    assert shlex.split(command) == ["t", cell]
    [_, line] = joblog(run("t", "{x}", template=True, columns=("x",)), [entry], [result("k", 0)])
    assert (line.count("\n"), line.count("\t")) == (1, 8)


THEIRS = ":\t1764000000.000\t     0.003\t0\t0\t0\t0\tgzip a"


def test_the_list_that_gnu_parallel_has_written_stays(tmp_path: Path) -> None:
    file = tmp_path / "jobs.log"
    file.write_text(f"{''.join(joblog(run('x'), [], []))}1\t{THEIRS}\n")
    before = file.read_bytes()
    with pytest.raises(UsageError, match="stays as it is"):
        write_lines(file, ["new\n"])
    assert file.read_bytes() == before


def test_an_older_list_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "jobs.log"
    for line in ("older\n", "newer\n"):
        write_lines(file, [line])
    assert file.read_text() == "newer\n"


def test_a_worker_of_any_name_makes_one_line_of_as_many_cells() -> None:
    hostile = result("a", 0).model_copy(update={"worker": "w\t\n\x1b[2J"})
    [_, line] = joblog(run("x"), [Entry(key="a", size=0, etag="")], [hostile])
    assert len(line.split("\t")) == 9
    assert line.count("\n") == 1
    assert "\x1b" not in line
