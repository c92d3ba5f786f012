import pytest

from parallelize.runs.which import find_key
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
