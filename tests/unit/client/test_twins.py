"""Names that other disks take for one are told when the run is prepared."""

from __future__ import annotations

import pytest

from parallelize.runs.files.twins import find_twins, told_twins, twin_remarks


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
    assert "both an input and a folder of inputs" in said


@pytest.mark.parametrize("keys", [["a.txt", "b/a.txt"], ["a", "ab/c"], ["Data/x", "data/y"], []])
def test_names_that_every_disk_tells_apart_need_no_remark(keys: list[str]) -> None:
    assert twin_remarks(keys) == []


def test_of_many_the_first_are_named() -> None:
    (said,) = twin_remarks([name for number in range(9) for name in (f"a{number}", f"A{number}")])
    assert "a2 and A2 and 6 more" in said


@pytest.mark.parametrize(
    "keys", [["a.txt", "a/b.txt"], ["x/y.tar", "x/y/z"], ["Scan.nii", "scan/1"]]
)
def test_an_input_whose_stem_is_a_folder_of_others_is_told(keys: list[str]) -> None:
    (said,) = twin_remarks(keys)
    assert f"but for the suffix: {keys[0]}" in said


def test_outputs_of_two_inputs_that_one_disk_cannot_hold_are_told() -> None:
    assert told_twins(find_twins(["out/x.png", "OUT/x.png", "b"]))[0] == (
        "on macOS and Windows these outputs have the same name: out/x.png and OUT/x.png"
    )
    assert told_twins(find_twins(["b/c", "b"]))[0].startswith(
        "both an output and a folder of outputs: b"
    )
    assert told_twins(find_twins(["a", "b", "ab/c"])) == []
