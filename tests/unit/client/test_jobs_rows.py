"""Rows of a sheet, lines, and grids become jobs; what is wrong is named with its row."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelize.grids import parse_grid
from parallelize.runs.jobs.sheet import LineJobs, Lines, RowJobs, Sheet, read_rows
from parallelize.runs.jobs.source import Grid, Times
from parallelize.runs.jobs.spec import JobSpec
from parallelize_core.errors import UsageError

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufffe\uffff\r"), max_size=30)


def rows(folder: Path, text: str, name: str = "jobs.tsv") -> RowJobs:
    (folder / name).write_text(text, encoding="utf-8")
    return read_rows(Sheet(folder / name))


def shown(job: JobSpec) -> dict[str, str]:
    return {**job.variables, **{file.column: f"file {file.key}" for file in job.files}}


@pytest.fixture
def sheet_folder(tmp_path: Path) -> Path:
    (tmp_path / "reads").mkdir()
    for name in ("A_R1.fq", "A_R2.fq", "B_R1.fq", "B_R2.fq"):
        (tmp_path / "reads" / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jobs.tsv", "lr\tname\n0.1\ta b\n0.2\tc\n"),
        ("jobs.csv", 'lr,name\n0.1,a b\r\n0.2,"c"\n'),
        ("jobs.CSV", "\ufefflr,name\n\n0.1,a b\n0.2,c"),
        ("jobs.jsonl", '{"lr": 0.1, "name": "a b"}\n\n{"name": "c", "lr": 0.2}\n'),
        ("jobs.ndjson", '{"lr": "0.1", "name": "a b"}\n{"name": "c", "lr": 0.2}'),
    ],
)
def test_each_row_is_a_job_and_its_columns_are_its_variables(
    tmp_path: Path, name: str, text: str
) -> None:
    jobs = rows(tmp_path, text, name)
    assert jobs.columns == ("lr", "name")
    assert [job.variables for job in jobs] == [
        {"lr": "0.1", "name": "a b"},
        {"lr": "0.2", "name": "c"},
    ]


def test_a_sheet_of_another_system_in_utf_16_is_read(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("a,b\n1,ä\n", encoding="utf-16")
    assert [job.variables for job in read_rows(Sheet(tmp_path / "jobs.csv"))] == [
        {"a": "1", "b": "ä"}
    ]


def test_numbers_of_json_stay_as_they_are_written_and_others_are_json(tmp_path: Path) -> None:
    jobs = rows(
        tmp_path, '{"a": 1.50, "b": 1e-3, "c": true, "d": null, "e": [1, "x"]}\n', "j.jsonl"
    )
    [job] = jobs
    assert job.variables == {"a": "1.50", "b": "1e-3", "c": "true", "d": "", "e": '["1","x"]'}


def test_a_column_whose_cells_are_paths_beside_the_sheet_has_files(sheet_folder: Path) -> None:
    jobs = rows(
        sheet_folder,
        "sample\tr1\tr2\nA\treads/A_R1.fq\t./reads/A_R2.fq\nB\treads/B_R1.fq\t\n",
    )
    assert [shown(job) for job in jobs] == [
        {"sample": "A", "r1": "file reads/A_R1.fq", "r2": "file reads/A_R2.fq"},
        {"sample": "B", "r1": "file reads/B_R1.fq", "r2": ""},
    ]


def test_files_elsewhere_have_their_whole_path_as_key(sheet_folder: Path) -> None:
    (sheet_folder / "sub").mkdir()
    [job] = rows(sheet_folder / "sub", "r1\n../reads/A_R1.fq\n")
    assert job.files[0].key == str(sheet_folder / "reads/A_R1.fq").lstrip("/")


def test_names_of_s3_are_files(tmp_path: Path) -> None:
    [job] = rows(tmp_path, "ref\tlr\ns3://bucket/d/x.fa\t1\n")
    assert shown(job) == {"lr": "1", "ref": "file s3://bucket/d/x.fa"}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("r1\treads\nreads/A_R1.fq\t1\nreads/C.fq\t2\n", "row 3, r1: reads/C.fq"),
        ("sample\tr1\nA\treads/C.fq\n", "row 2, r1: reads/C.fq"),
        ("r1\nreads/A_R1.fq\nnone\n", "row 3, r1: none"),
        ("--input r1\nA\n", "row 2, r1: A"),
        ("r1\nreads/A_R1.fq\ns3://bucket/../x\n", "row 3, r1: s3://bucket/../x"),
        ("r1\nreads/A_R1.fq\nreads\n", "row 3, r1: reads"),
    ],
)
def test_a_missing_file_is_named_with_its_row(sheet_folder: Path, text: str, missing: str) -> None:
    with pytest.raises(UsageError) as caught:
        rows(sheet_folder, text)
    assert missing in (caught.value.why or "")


@pytest.mark.parametrize(
    "text",
    [
        "seed\tv\n1\t2.5\n",
        "--env x\nno/such/file.txt\n",
        "out\nmade/A.bam\n",
        "output_name\nA.bam\n",
        "kind\tsample\ns/a/b\tA\n",
    ],
)
def test_other_columns_are_text(tmp_path: Path, text: str) -> None:
    [job] = rows(tmp_path, text)
    assert not job.files


def test_a_number_is_no_file_although_one_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "0.1").write_text("")
    [job] = rows(tmp_path, "lr\n0.1\n")
    assert job.variables == {"lr": "0.1"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a\tb\n1\t2\n1\n", "row 3"),
        ("a\n1\n\ufffe\n", "row 3"),
        ("a\n" + "x" * 40_000 + "\n", "row 2"),
        ('a\tb\n"1\t2\n', "row 2"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        rows(tmp_path, text)


@pytest.mark.parametrize("line", ["[1]", "{", '{"b": 1}', '"x"', '{"a": ' + "[" * 50_000])
def test_a_line_that_is_no_such_object_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match="row 2"):
        rows(tmp_path, f'{{"a": 1}}\n{line}\n', "j.jsonl")


@pytest.mark.parametrize("header", ["a\ta", "a-b\ta_b", "1\t2", "\tb", "Lr\tlr"])
def test_a_header_that_names_no_variables_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(UsageError):
        rows(tmp_path, f"{header}\nx\ty\n")


def test_a_sheet_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_rows(Sheet(tmp_path / "jobs.tsv"))


def test_a_column_may_be_called_as_people_call_it(tmp_path: Path) -> None:
    assert rows(tmp_path, "Sample ID\tread #\nA\t1\n").columns == ("Sample_ID", "read_")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(CELL, min_size=1, max_size=5))
def test_any_cell_comes_through_as_it_is(tmp_path: Path, cells: list[str]) -> None:
    text = "".join('"{}",x\n'.format(cell.replace('"', '""')) for cell in ["--env cell", *cells])
    (tmp_path / "jobs.csv").write_text(text, encoding="utf-8", newline="")
    jobs = read_rows(Sheet(tmp_path / "jobs.csv"))
    assert [job.variables["cell"] for job in jobs] == cells


def test_each_line_that_is_not_empty_is_a_job(tmp_path: Path) -> None:
    (tmp_path / "args").write_bytes(b"chr1\r\n\n chr 2 \nchr3")
    jobs = LineJobs(Lines("args", tmp_path))
    assert [job.variables for job in jobs] == [{"line": v} for v in ("chr1", " chr 2 ", "chr3")]
    assert next(iter(jobs)).name == "chr1"


@pytest.mark.parametrize(
    ("value", "axes"),
    [
        ("lr=0.1,0.01 seed=1..3", {"lr": ["0.1", "0.01"], "seed": ["1", "2", "3"]}),
        (("lr=0.1", "seed=3..1"), {"lr": ["0.1"], "seed": ["3", "2", "1"]}),
        ({"lr": [0.1, 0.01], "on": [True], "n": 7, "m": "0..4..2"},
         {"lr": ["0.1", "0.01"], "on": ["true"], "n": ["7"], "m": ["0", "2", "4"]}),
        (("x=a..b",), {"x": ["a..b"]}),
        (("x=-1..1,5",), {"x": ["-1", "0", "1", "5"]}),
    ],
)  # fmt: skip
def test_a_grid_is_read_as_it_is_written(value: object, axes: dict[str, list[str]]) -> None:
    assert parse_grid(value) == axes


@pytest.mark.parametrize("value", ["lr", ("lr=1", "lr=2"), "1=2", 7, ("n=1..3..0",), {"a b": 1}])
def test_what_is_no_grid_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_grid(value)


def test_a_grid_has_all_combinations_the_last_changing_fastest() -> None:
    grid = Grid({"lr": ("1", "2"), "seed": ("3", "4")})
    assert [job.name for job in grid] == [
        "lr=1,seed=3", "lr=1,seed=4", "lr=2,seed=3", "lr=2,seed=4",
    ]  # fmt: skip


def test_a_grid_times_rows_is_each_row_with_each_combination(tmp_path: Path) -> None:
    jobs = Times(rows(tmp_path, "s\nA\nB\n"), Grid({"lr": ("1", "2")}))
    assert jobs.columns == ("s", "lr")
    assert [job.name for job in jobs] == ["s=A/lr=1", "s=A/lr=2", "s=B/lr=1", "s=B/lr=2"]
    assert [*jobs][1].variables == {"s": "A", "lr": "2"}
