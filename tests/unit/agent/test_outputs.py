"""Whatever a command prints and leaves behind, no path outside its scratch folder is an output."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parallelize_agent.job.outputs import OutputError, OutputFile, find_outputs
from parallelize_core import keys

NAMES = ("a", "b", "c d", "é", ".h", "-n")
part = st.sampled_from((*NAMES, "..", ".", "", "outside", "secret", "\udcff", "~", "*"))
path = st.lists(part, min_size=1, max_size=5).map("/".join)
target = path | st.sampled_from(("..", "../..", "../outside", "../outside/secret", "/", "/etc"))
entry = st.tuples(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join),
    st.sampled_from(("file", "folder", "pipe")) | st.tuples(st.just("link"), target),
)
line = path | st.text() | st.sampled_from(("../outside/secret", "/etc/passwd", "a/../b", " a "))


def build(root: Path, tree: list[tuple[str, object]]) -> None:
    """Make what can be made of `tree` without leaving it: an earlier entry may be in the way."""
    for name, kind in tree:
        place = root / name
        # realpath: unlike Path.resolve it takes a circle of links as it is.
        parent = Path(os.path.realpath(place.parent))
        if not parent.is_relative_to(root) or os.path.lexists(place):
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            match kind:
                case "file":
                    place.write_text(name)
                case "folder":
                    place.mkdir()
                case "pipe":
                    os.mkfifo(place)
                case ("link", to):
                    place.symlink_to(str(to))
        except OSError:
            continue


def refused_or_found(root: Path, said: bytes) -> list[OutputFile]:
    """Return the outputs; none if there is a reason, in words that can be printed, for none."""
    stdout = root / "stdout"
    stdout.write_bytes(said)
    try:
        return list(find_outputs(stdout, root / "scratch", root / "environment").files)
    except OutputError as error:
        reason = str(error)
    assert reason.isprintable()
    return []


@given(st.lists(entry, max_size=6), st.lists(line, max_size=6))
@example([("a", ("link", "../outside/secret"))], ["a"])
@example([("a/b", ("link", "../../outside"))], ["a", "a/b", "a/b/secret"])
@example([("a", ("link", "."))], ["a/a/a"])
@example([("a", ("link", "b")), ("b", ("link", "a")), ("a/c", "file")], ["a", "a/c"])
def test_no_output_is_outside_and_all_can_be_stored(
    tree: list[tuple[str, object]], lines: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in ("scratch", "outside", "environment"):
            (root / name).mkdir()
        (root / "outside" / "secret").write_text("secret")
        build(root / "scratch", tree)
        found = refused_or_found(root, "\n".join(lines).encode(errors="surrogateescape"))
        for output in found:
            real = output.path.resolve(strict=True)
            assert real.is_relative_to(root / "scratch")
            assert real.is_file()
            assert keys.refusal(output.name) is None
        assert len({output.path for output in found}) == len(found)


@given(st.binary(max_size=10_000))
def test_any_bytes_on_stdout_are_read(said: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        (root / "scratch").mkdir()
        (root / "environment").mkdir()
        assert refused_or_found(root, said) == []


def test_a_file_in_a_folder_that_had_another_name_for_the_command_is_found(tmp_path: Path) -> None:
    own_tmp = tmp_path / "scratch" / ".parallelize" / "tmp"
    own_tmp.mkdir(parents=True)
    (own_tmp / "made").touch()
    (tmp_path / "stdout").write_text("/tmp/made\n/tmp/../../../stdout\n")
    places = {"/tmp": own_tmp}
    with pytest.raises(OutputError, match="outside the scratch folder"):
        find_outputs(tmp_path / "stdout", tmp_path / "scratch", None, places)
    (tmp_path / "stdout").write_text("/tmp/made\n")
    found = find_outputs(tmp_path / "stdout", tmp_path / "scratch", None, places)
    assert [(file.path, file.name) for file in found.files] == [(own_tmp / "made", "made")]
