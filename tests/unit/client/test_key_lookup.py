import pytest

from parallelize.runs.jobs.key_lookup import find_key
from parallelize_core.errors import UsageError

KEYS = ["a/scan.tif", "b/scan.tif", "b/other.tif", "scan.tif.txt"]


@pytest.mark.parametrize(
    "name", ["b/other.tif", "other.tif", "inputs/b/other.tif", "./b/other.tif"]
)
def test_a_file_may_be_named_by_its_key_its_end_or_its_path(name: str) -> None:
    assert find_key(KEYS, name) == "b/other.tif"


def test_a_key_wins_over_those_that_end_in_it() -> None:
    assert find_key(["a/x", "x"], "x") == "x"


def test_an_end_that_fits_several_is_refused_with_the_candidates() -> None:
    with pytest.raises(UsageError) as caught:
        find_key(KEYS, "scan.tif")
    assert "a/scan.tif" in (caught.value.why or "")
    assert "b/scan.tif" in (caught.value.why or "")


def test_part_of_a_name_is_not_its_end() -> None:
    with pytest.raises(UsageError, match="no input of this run"):
        find_key(KEYS, "can.tif")


def test_a_path_means_the_input_that_is_there_and_no_other_that_ends_alike() -> None:
    keys = ["x.csv", "sub/x.csv", "old/sub/x.csv"]
    assert find_key(keys, "x.csv", path_key="sub/x.csv") == "x.csv"
    assert find_key(keys, "../sub/x.csv", path_key="sub/x.csv") == "sub/x.csv"


def refusal(known: list[str], file: str) -> str:
    with pytest.raises(UsageError, match="no input of this run") as caught:
        find_key(known, file)
    return caught.value.why or ""


@pytest.mark.parametrize("typed", ["b/othr.tif", "othr.tif", "./other.tiff", "inputs/b/othr.tif"])
def test_a_file_that_is_not_there_is_answered_with_the_one_most_alike(typed: str) -> None:
    assert refusal(KEYS, typed) == "did you mean b/other.tif?"


def test_of_several_that_are_alike_three_are_named() -> None:
    keys = [f"scan_000{number}.tif" for number in range(9)]
    assert refusal(keys, "scan_00011.tif").count("scan_000") == 3


def test_what_is_like_no_file_is_answered_without_a_guess() -> None:
    assert refusal(KEYS, "something-else-entirely.parquet") == ""
