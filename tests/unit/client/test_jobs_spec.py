"""The name of a job is readable where it can be, is never another's, and can be a file's."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.core.strategies import accepted_key

from parallelize.runs.jobs.key_lookup import find_key
from parallelize.runs.jobs.spec import FileRef, below, row_name, shown_name, value_name
from parallelize_core import keys
from parallelize_core.errors import UsageError

COLUMN = st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True)
CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufffe\uffff"), max_size=400)
VARIABLES = st.dictionaries(COLUMN, CELL | st.sampled_from(["1", "0.1", "a,b=c", ""]), max_size=4)
FILES = st.lists(st.builds(FileRef, accepted_key, COLUMN), max_size=3).map(tuple)


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"lr": "0.1", "seed": "7"}, "lr=0.1,seed=7"),
        ({"model": "rn-50", "when": "12:30"}, "model=rn-50,when=12:30"),
        ({"x": ""}, "x="),
        ({"name": "Ä"}, "name=Ä"),
    ],
)
def test_plain_variables_are_the_name(variables: dict[str, str], name: str) -> None:
    assert row_name(variables, ()) == name


@pytest.mark.parametrize(
    ("variables", "files", "start"),
    [
        ({"x": "a/b c"}, (), "x=a_b_c"),
        ({"x": "1,y=2"}, (), "x=1,y=2"),
        ({"sample": "A"}, (FileRef("d/A_R1.fq", "r1"),), "sample=A"),
        ({}, (FileRef("d/x.tif", "left"), FileRef("e/y.tif", "right")), "left=x.tif,right=y.tif"),
    ],
)
def test_a_name_that_does_not_say_all_begins_so_and_ends_in_a_digest(
    variables: dict[str, str], files: tuple[FileRef, ...], start: str
) -> None:
    name = row_name(variables, files)
    assert shown_name(name) == start
    assert name != start
    assert row_name(variables, files) == name


@given(st.lists(st.tuples(VARIABLES, FILES), min_size=2, max_size=6))
@example([({"x": "1,y=2"}, ()), ({"x": "1", "y": "2"}, ())])
@example([({"a": "1"}, (FileRef("x", "b"),)), ({"a": "1", "b": "x"}, ())])
@example([({}, (FileRef("d/x", "b"),)), ({}, (FileRef("e/x", "b"),))])
@example([({"x": "y~0123456789abcdef"}, ()), ({"x": "y"}, (FileRef("f"),))])
def test_two_jobs_have_one_name_only_if_they_are_one(
    rows: list[tuple[dict[str, str], tuple[FileRef, ...]]],
) -> None:
    jobs = {json.dumps([list(v.items()), [(f.column, f.key) for f in fs]]): row_name(v, fs)
            for v, fs in rows}  # fmt: skip
    assert len(set(jobs.values())) == len(jobs)


@given(variables=VARIABLES, files=FILES, value=CELL, folder=accepted_key)
@example(variables={"x": ".."}, files=(), value="..", folder="a")
@example(variables={"x": "é" * 400}, files=(), value="é" * 400, folder="a/" * 400 + "a")
def test_every_name_can_be_stored(
    variables: dict[str, str], files: tuple[FileRef, ...], value: str, folder: str
) -> None:
    row = row_name(variables, files)
    for name in (row, value_name(value), below(folder, row)):
        assert keys.refusal(name) is None


@given(values=st.lists(CELL, unique=True, max_size=6))
def test_each_line_has_a_name_of_its_own(values: list[str]) -> None:
    assert len(set(map(value_name, values))) == len(values)


def test_a_plain_line_is_its_own_name() -> None:
    assert value_name("chr1") == "chr1"
    assert shown_name(value_name("a b")) == "a_b"


@pytest.mark.parametrize("typed", ["sample=A", "sample=A,lr=0.1", "run1/sample=A,lr=0.1"])
def test_a_job_is_found_by_its_first_columns_and_without_its_digest(typed: str) -> None:
    name = row_name({"sample": "A", "lr": "0.1"}, (FileRef("x"),))
    other = row_name({"sample": "AB", "lr": "0.1"}, (FileRef("x"),))
    assert find_key([other, name], typed.removeprefix("run1/")) == name


def test_what_may_be_two_jobs_is_refused_with_both() -> None:
    names = [row_name({"sample": "A", "lr": lr}, ()) for lr in ("1", "2")]
    with pytest.raises(UsageError, match="matches 2 inputs"):
        find_key(names, "sample=A")
