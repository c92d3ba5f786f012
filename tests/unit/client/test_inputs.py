import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parallelize.runs.inputs.local_inputs import local_inputs
from parallelize.runs.inputs.remote_inputs import Selection, find_remote
from parallelize_core.errors import UsageError
from parallelize_core.layout import Location
from parallelize_core.testing import InMemoryStore

PREFIX = "runs/demo/input/"
DATA = Selection("s3://bucket/data/", Location("bucket", "data/"))


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def keys(spec: str, folder: Path) -> list[str]:
    return [item.key for item in local_inputs(spec, folder, PREFIX)]


def refusal(spec: str, folder: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        local_inputs(spec, folder, PREFIX)
    return caught.value


def test_every_file_below_a_folder_is_an_input(tmp_path: Path) -> None:
    make(tmp_path, "in/b.txt", "in/a/deep/c.txt", "in/.hidden", "out/no.txt")
    assert keys("in/", tmp_path) == [".hidden", "a/deep/c.txt", "b.txt"]


@pytest.mark.parametrize("name", ["with space", "-rf", "ünï cödé 日本", "a..b", "'$(x)`\\"])
def test_odd_names_that_do_no_harm_are_taken(tmp_path: Path, name: str) -> None:
    make(tmp_path, f"in/{name}")
    assert keys("in", tmp_path) == [name]


def test_a_glob_gives_keys_below_its_fixed_part(tmp_path: Path) -> None:
    make(tmp_path, "in/a/1.tif", "in/b/2.tif", "in/b/2.txt", "in/3.tif")
    assert keys("in/**/*.tif", tmp_path) == ["3.tif", "a/1.tif", "b/2.tif"]
    assert keys("in/*.tif", tmp_path) == ["3.tif"]


def test_an_absolute_glob_is_as_good(tmp_path: Path) -> None:
    make(tmp_path, "in/a/1.tif")
    assert keys(f"{tmp_path}/in/*/*.tif", Path("/")) == ["a/1.tif"]


def test_a_file_that_a_list_names_twice_is_one_input(tmp_path: Path) -> None:
    make(tmp_path, "x/1.txt", "y.txt")
    (tmp_path / "list.txt").write_text(f"x/1.txt\ny.txt\n./x//1.txt\n{tmp_path}/x/1.txt\n")
    assert keys("@list.txt", tmp_path) == ["x/1.txt", "y.txt"]


def test_a_list_names_files_from_the_projects_folder(tmp_path: Path) -> None:
    make(tmp_path, "x/1.txt", "y 2.txt")
    (tmp_path / "list.txt").write_text(f"./x/1.txt\n\n{tmp_path}/y 2.txt\n")
    assert keys("@list.txt", tmp_path) == ["x/1.txt", "y 2.txt"]


def test_only_a_newline_ends_a_name_of_a_list(tmp_path: Path) -> None:
    make(tmp_path, "one\u2028two.txt")
    (tmp_path / "list.txt").write_bytes("one\u2028two.txt\r\n".encode())
    assert keys("@list.txt", tmp_path) == ["one\u2028two.txt"]


def test_a_list_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    error = refusal("@list.txt", tmp_path)
    assert "list.txt cannot be read" in error.what
    assert "run.inputs" in (error.why or "")
    assert error.fix


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    make(tmp_path, "data/1.txt")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "more").symlink_to(tmp_path / "data")
    (tmp_path / "in" / "one.txt").symlink_to(tmp_path / "data" / "1.txt")
    assert keys("in", tmp_path) == ["more/1.txt", "one.txt"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    error = refusal("nowhere/", tmp_path)
    assert error.what == "the inputs nowhere/ do not exist"
    assert error.exit_code == 2


def test_an_empty_folder_is_no_run_without_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert refusal("in/", tmp_path).what == "there are no inputs in in/"
    assert refusal("in/*.txt", tmp_path).what == "there are no inputs in in/*.txt"


def a_newline(folder: Path) -> str:
    make(folder, "in/two\nlines")
    return r"two\nlines: it has a control character: newline"


def an_escape(folder: Path) -> str:
    make(folder, "in/\x1b[31mred")
    return r"\x1b[31mred: it has a control character: U+001B"


def a_way_out(folder: Path) -> str:
    make(folder, "secret")
    (folder / "in").mkdir()
    (folder / "list").write_text("in/../secret")
    return '..", which could lead out of its folder'


def a_directory(folder: Path) -> str:
    (folder / "sub").mkdir()
    (folder / "list").write_text("sub")
    return "sub: it is a folder; an input is a file"


def two_of_one_key(folder: Path) -> str:
    apart = folder.with_name(f"{folder.name}-apart")
    make(apart, "mon/a.txt", "tue/a.txt")
    (folder / "list").write_text(f"{apart}/mon/a.txt\n{apart}/tue/a.txt")
    return "has the same key, a.txt"


def a_missing_file(folder: Path) -> str:
    (folder / "list").write_text("gone.txt")
    return "gone.txt: No such file or directory"


def a_dangling_link(folder: Path) -> str:
    (folder / "in").mkdir()
    (folder / "in" / "x").symlink_to(folder / "nothing")
    return "x: it is a broken link"


def a_circle(folder: Path) -> str:
    make(folder, "in/a/file")
    (folder / "in" / "a" / "up").symlink_to(folder / "in")
    return "a/up: it links to a folder that contains it"


def a_pipe(folder: Path) -> str:
    (folder / "in").mkdir()
    os.mkfifo(folder / "in" / "pipe")
    return "pipe: it is not a regular file"


def not_utf8(folder: Path) -> str:
    (folder / "in").mkdir()
    Path(os.fsdecode(os.fsencode(folder / "in") + b"/\xff")).write_text("x")
    return r"\udcff: it is not valid UTF-8"


def too_long(folder: Path) -> str:
    deep = folder / "in" / "/".join(["d" * 202] * 5)
    make(deep, "f")
    return "with the run's prefix it has"


@pytest.mark.parametrize(
    "prepare",
    [
        a_newline, an_escape, a_way_out, a_directory, two_of_one_key, a_missing_file,
        a_dangling_link, a_circle, a_pipe, not_utf8, too_long,
    ],
)  # fmt: skip
def test_what_cannot_be_an_input_is_named_with_the_reason(
    tmp_path: Path, prepare: Callable[[Path], str]
) -> None:
    expected = prepare(tmp_path)
    spec = "@list" if (tmp_path / "list").exists() else "in"
    error = refusal(spec, tmp_path)
    assert expected in (error.why or "")
    assert error.what == "1 file cannot be an input"


def test_all_bad_inputs_are_named_at_once(tmp_path: Path) -> None:
    make(tmp_path, "in/a\nb", "in/c\td", "in/good")
    error = refusal("in", tmp_path)
    assert error.what == "2 files cannot be inputs"
    assert r"a\nb" in (error.why or "")
    assert r"c\td" in (error.why or "")


def test_a_prefix_in_s3_is_only_listed(tmp_path: Path) -> None:
    store = InMemoryStore()
    for key in ("data/", "data/a.txt", "data/sub/", "data/sub/b.txt", "other/c"):
        store.put(key, b"x" if not key.endswith("/") else b"")
    entries = find_remote(store, DATA).entries
    assert [(entry.key, entry.size) for entry in entries] == [("a.txt", 1), ("sub/b.txt", 1)]


def test_bad_keys_in_s3_are_named(tmp_path: Path) -> None:
    store = InMemoryStore()
    for key in ("data/a//b", "data/../x"):
        store.put(key, b"x")
    with pytest.raises(UsageError, match="2 files cannot be inputs"):
        find_remote(store, DATA)


@pytest.mark.parametrize("spec", ["", "  "])
def test_an_empty_name_does_not_mean_the_whole_folder(tmp_path: Path, spec: str) -> None:
    (tmp_path / "secret.txt").write_text("not an input")
    with pytest.raises(UsageError, match="no inputs are named") as caught:
        local_inputs(spec, tmp_path, "")
    assert (caught.value.fix or "").startswith(
        "give a folder, a glob, @list.txt, @- (stdin), s3://"
    )


def test_a_list_made_by_find_print0_is_read(tmp_path: Path) -> None:
    names = ["in/a", "in/b c", "in/ leading and trailing ", "in/ünï"]
    make(tmp_path, *names)
    (tmp_path / "list").write_bytes("\0".join(names).encode() + b"\0")
    assert keys("@list", tmp_path) == sorted(names)


def test_a_list_of_names_with_newlines_is_refused_name_by_name(tmp_path: Path) -> None:
    make(tmp_path, "in/a", "in/two\nlines")
    (tmp_path / "list").write_bytes(b"in/a\0in/two\nlines\0")
    error = refusal("@list", tmp_path)
    assert r"two\nlines: it has a control character: newline" in (error.why or "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_is_read_as_editors_and_shells_write_it(tmp_path: Path, encoding: str) -> None:
    make(tmp_path, "in/ä.txt", "in/b.txt")
    (tmp_path / "list").write_bytes("in/ä.txt\r\nin/b.txt\r\n".encode(encoding))
    assert keys("@list", tmp_path) == ["in/b.txt", "in/ä.txt"]


@pytest.mark.parametrize("content", [b"\xff\xfea", b"in/\xff\n", b"\x80\0\x81"])
def test_a_list_in_no_encoding_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list").write_bytes(content)
    assert refusal("@list", tmp_path).what.endswith("is not a list in UTF-8")


def deep(folder: Path, levels: int) -> None:
    """Make folders in folders; step by step, as no path may be so long."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[Path]:
    """A folder that is removed by a program that does not mind its depth."""
    folder = tmp_path / "in"
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.mark.parametrize("levels", [1_200, 2_100])
def test_folders_may_be_nested_so_deeply_that_only_what_lies_there_is_refused(
    inputs: Path, levels: int
) -> None:
    deep(inputs, levels)
    assert refusal("in", inputs.parent).what == "1 file cannot be an input"


def test_a_file_in_as_many_folders_as_a_key_has_room_for_is_taken(inputs: Path) -> None:
    deep(inputs, 400)
    assert keys("in", inputs.parent) == ["d/" * 400 + "f"]


def test_a_pattern_through_folders_that_are_nested_too_deeply_is_refused(inputs: Path) -> None:
    deep(inputs, 1_200)
    assert "nested too deeply" in refusal("in/**/f", inputs.parent).what


@pytest.mark.parametrize("name", ["data[1]", "what?", "a*b"])
def test_a_folder_or_file_whose_name_looks_like_a_pattern_is_what_is_meant(
    tmp_path: Path, name: str
) -> None:
    make(tmp_path, f"{name}/x.txt", f"in/{name}.csv")
    assert keys(f"{name}/", tmp_path) == ["x.txt"]
    assert keys(f"in/{name}.csv", tmp_path) == [f"{name}.csv"]
