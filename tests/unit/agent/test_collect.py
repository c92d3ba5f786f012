"""What output.collect means is delivered although the command has printed nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from parallelize_agent.job.furnishing import Furnishing
from parallelize_agent.job.output_files import OutputError
from parallelize_agent.job.outputs import Outputs, Unprinted, find_outputs

PRIVATE = ".parallelize/input"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    (folder / PRIVATE).mkdir(parents=True)
    (folder / PRIVATE / "photo.png").write_text("the input")
    return folder


def write(scratch: Path, *names: str) -> None:
    for name in names:
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_text(name)


def found(scratch: Path, *globs: str, said: str = "", environment: Path | None = None) -> Outputs:
    stdout = scratch.parent / "stdout"
    stdout.write_text(said)
    unprinted = Unprinted(globs, given=(scratch / PRIVATE / "photo.png",))
    return find_outputs(stdout, scratch, environment, unprinted=unprinted)


def names(outputs: Outputs) -> list[str]:
    return [file.name for file in outputs.files]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.png", ["a.png", "b.png"]),
        ("[b-z].*", ["b.png", "b.txt"]),
        ("?.txt", ["b.txt"]),
        ("b.png", ["b.png"]),
        ("./b.png", ["b.png"]),
        ("plots/*.png", ["plots/c.png"]),
        ("**/*.png", ["a.png", "b.png", "plots/c.png", "plots/deep/er/d.png"]),
        ("plots/**/d.png", ["plots/deep/er/d.png"]),
        ("plots/**", ["plots/c.png", "plots/deep/er/d.png"]),
        ("p*", ["plots/c.png", "plots/deep/er/d.png"]),
        ("plots/", ["plots/c.png", "plots/deep/er/d.png"]),
        ("*.svg", []),
        (".", []),
    ],
)
def test_a_glob_is_relative_to_the_scratch_folder_and_stays_within_names(
    scratch: Path, glob: str, expected: list[str]
) -> None:
    write(scratch, "a.png", "b.png", "b.txt", ".hidden.png", "plots/c.png", "plots/deep/er/d.png")
    assert sorted(names(found(scratch, glob))) == expected


def test_what_was_printed_and_is_meant_too_is_delivered_once_and_comes_first(
    scratch: Path,
) -> None:
    write(scratch, "a.png", "b.png", "c.txt")
    outputs = found(scratch, "*.png", "?.png", said="b.png\n")
    assert names(outputs) == ["b.png", "a.png"]
    assert outputs.left == ("c.txt",)


def test_what_a_program_writes_beside_its_input_is_meant_and_the_input_is_not(
    scratch: Path,
) -> None:
    write(scratch, f"{PRIVATE}/photo_small.png", f"{PRIVATE}/deep/photo.png")
    assert names(found(scratch, "*.png")) == ["photo_small.png"]
    assert sorted(names(found(scratch, "**/*.png"))) == ["deep/photo.png", "photo_small.png"]


def test_what_lies_beside_the_input_and_nobody_named_is_told(scratch: Path) -> None:
    write(scratch, f"{PRIVATE}/photo.csv")
    assert found(scratch).left == ("photo.csv",)


def test_what_came_with_the_environment_is_not_meant_and_what_was_changed_is(
    scratch: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    write(environment, "logo.png", "plots/empty.png", "plots/frame.png")
    Furnishing.of(environment).put_into(scratch)
    write(scratch, "made.png", "plots/frame.png")
    outputs = found(scratch, "**/*.png", environment=environment)
    assert sorted(names(outputs)) == ["made.png", "plots/frame.png"]


@pytest.mark.parametrize("glob", ["*.png", "**/x.png", "x*"])
def test_a_link_that_leads_outside_is_an_error_and_not_an_output(
    scratch: Path, tmp_path: Path, glob: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    (scratch / "x.png").symlink_to("../secret")
    with pytest.raises(OutputError, match=r"output\.collect matches a path outside the scratch"):
        found(scratch, glob)


def test_links_to_folders_are_not_followed_so_a_circle_of_them_ends(scratch: Path) -> None:
    write(scratch, "d/x.png")
    (scratch / "d" / "up").symlink_to("..")
    (scratch / "d" / "here").symlink_to(".")
    assert names(found(scratch, "**/*.png")) == ["d/x.png"]


def test_folders_nested_more_deeply_than_functions_are_gone_through(scratch: Path) -> None:
    folder = str(scratch)
    for _ in range(1500):
        folder += "/d"
        os.mkdir(folder)  # noqa: PTH102 - pathlib takes the square of their number
    Path(folder, "x.png").touch()
    try:
        with pytest.raises(OutputError, match="cannot be stored"):
            found(scratch, "**/*.png")  # S3 has no room for such a name; it was found
    finally:
        # pytest could not remove it.
        subprocess.run(["rm", "-r", scratch / "d"], check=True)


UNDELIVERABLE: dict[str, Callable[[Path], object]] = {
    "a broken link": lambda path: path.symlink_to("nothing.png"),
    "a link to itself": lambda path: path.symlink_to("x.png"),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("put", UNDELIVERABLE.values(), ids=UNDELIVERABLE)
def test_a_file_that_cannot_be_delivered_is_not_taken_for_none(
    scratch: Path, put: Callable[[Path], object]
) -> None:
    put(scratch / "x.png")
    with pytest.raises(OutputError, match=r"x\.png"):
        found(scratch, "*.png")


def test_a_command_may_delete_its_input_and_the_folder_around_it(scratch: Path) -> None:
    shutil.rmtree(scratch / ".parallelize")
    write(scratch, "a.png")
    assert found(scratch).left == ("a.png",)
    assert names(found(scratch, "*.png")) == ["a.png"]
