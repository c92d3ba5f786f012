"""All files as CSV or Parquet: every file and column, and nothing else is written over."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from tests.unit.watching.test_report_page import HOSTILE, busy_report

from parallelize.report.table import check_form, columns, write_table
from parallelize_core.errors import UsageError
from parallelize_core.keys import refusal

REPORT = busy_report("a", "b", *HOSTILE)


def test_a_csv_has_every_file_and_column_as_the_json_has(tmp_path: Path) -> None:
    path = tmp_path / "files.csv"
    write_table(REPORT.files, path)
    with path.open(newline="") as opened:
        rows = [*csv.DictReader(opened)]
    wanted = [
        {name: "" if value is None else str(value) for name, value in asdict(file).items()}
        for file in REPORT.files
    ]
    assert rows == wanted


def test_a_parquet_file_has_them_too_with_numbers_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "files.parquet"
    write_table(REPORT.files, path)
    assert parquet.read_table(path).to_pylist() == [asdict(file) for file in REPORT.files]


@given(
    st.lists(st.text(min_size=1, max_size=50).filter(lambda key: refusal(key) is None), unique=True)
)
def test_no_name_breaks_a_row(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    path = tmp_path_factory.mktemp("tables") / "files.csv"
    write_table(busy_report(*keys).files, path)
    with path.open(newline="", encoding="utf-8") as opened:
        assert {row["key"] for row in csv.DictReader(opened)} == set(keys)


def test_another_suffix_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match=r"neither \.csv nor \.parquet"):
        check_form(Path("files.xlsx"))


def test_each_column_of_a_page_is_as_long_as_the_list_of_names() -> None:
    table = columns(REPORT)
    listed = ("state", "worker", "reason", "attempts", "back", "seconds", "in", "out")
    assert {len(table[name]) for name in listed} == {len(REPORT.files)}
    failed = [place for place, file in enumerate(REPORT.files) if file.state == "failed"]
    assert {table["states"][table["state"][place]] for place in failed} == {"failed"}
    assert all(table["reasons"][table["reason"][place]].startswith("exit 1 · ") for place in failed)
    assert {table["reason"][place] for place in range(len(failed), len(REPORT.files))} == {-1}
