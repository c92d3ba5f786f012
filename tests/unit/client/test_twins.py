"""Names that other disks take for one are told when the run is prepared."""

from __future__ import annotations

import pytest

from parallelize.runs.twins import twin_remarks


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.txt", "A.txt"),
        ("Straße", "STRASSE"),
        ("caf\u00e9.csv", "cafe\u0301.csv"),
        ("Data/x", "data/X"),
        ("\u00dc/a", "u\u0308/a"),
    ],
)
def test_names_that_are_one_on_macos_are_told(one: str, other: str) -> None:
    (said,) = twin_remarks(["other", one, other])
    assert f"{one} and {other}" in said
    assert "{hash}" in said


@pytest.mark.parametrize(
    "keys", [["a", "a/b.txt"], ["x/y/z", "x/y"], ["A", "a/b"], ["caf\u00e9", "cafe\u0301/b"]]
)
def test_an_input_that_is_a_folder_of_others_is_told(keys: list[str]) -> None:
    (said,) = twin_remarks(keys)
    assert "an input, and a folder of others" in said


@pytest.mark.parametrize("keys", [["a.txt", "a/b.txt"], ["a", "ab/c"], ["Data/x", "data/y"], []])
def test_names_that_every_disk_tells_apart_need_no_remark(keys: list[str]) -> None:
    assert twin_remarks(keys) == []


def test_of_many_the_first_are_named() -> None:
    (said,) = twin_remarks([name for number in range(9) for name in (f"a{number}", f"A{number}")])
    assert "a2 and A2 and 6 more" in said
