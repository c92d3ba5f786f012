"""Whatever a command prints and leaves behind, no path outside its scratch folder is an output."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parallelize_agent.job.furnishing import Furnishing
from parallelize_agent.job.output_files import CONTENT_BYTES, OutputError, OutputFile
from parallelize_agent.job.outputs import CONTENTS_BYTES, Outputs, find_outputs
from parallelize_agent.process import isolation
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
            real = Path(output.path).resolve(strict=True)
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
    assert [(file.path, file.name) for file in found.files] == [(str(own_tmp / "made"), "made")]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The scratch folder of a job, beside what it must not reach."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    (tmp_path / "outside.txt").write_text("secret")
    return folder


def found(scratch: Path, said: bytes | str, environment: Path | None = None) -> Outputs:
    stdout = scratch.parent / "stdout"
    stdout.write_bytes(os.fsencode(said))
    return find_outputs(stdout, scratch, environment)


def names(outputs: Outputs) -> list[str]:
    return [file.name for file in outputs]


@pytest.mark.parametrize(
    "said",
    [
        "r.txt",
        "./r.txt",
        ".//./r.txt",
        "sub/../r.txt",
        "r.txt\r\n",
        "  r.txt\t ",
        "'r.txt'",
        '"r.txt"',
        "\ufeffr.txt",
        "\ufeff'r.txt' ",
        b"r.txt\0\n",
        b"r.txt\0\0",
        b"nothing.txt\0r.txt\0",
        "100%|#####| 10/10 [00:01<00:00]\rr.txt",
        " 10%\r 20%\r100%\rr.txt\r\n",
        "\x1b[32mr.txt\x1b[0m",
        "\x1b[1;38;5;208mr.txt\x1b[m\x1b[K",
        "\x1b]0;a title\x07r.txt",
        "\x1b]8;;file:///r.txt\x1b\\r.txt\x1b]8;;\x1b\\",
        "done \r\x1b[2K\x1b[32m'r.txt'\x1b[0m ",
    ],
)
def test_a_name_is_found_in_what_programs_print_around_it(scratch: Path, said: bytes | str) -> None:
    (scratch / "sub").mkdir()
    (scratch / "r.txt").touch()
    assert names(found(scratch, said)) == ["r.txt"]


@pytest.mark.parametrize(
    ("literal", "other"),
    [(" r.txt ", "r.txt"), ("'r.txt'", "r.txt"), ("a\x1b[0m", "a"), ("x\ry", "y"), ('"', "x")],
)
def test_the_line_as_it_was_printed_wins_if_it_exists(
    scratch: Path, literal: str, other: str
) -> None:
    for name in (literal, other):
        (scratch / name).write_text(name)
    stdout = scratch.parent / "stdout"
    stdout.write_text(f"{literal}\n", newline="")
    if any(character < " " for character in literal):
        with pytest.raises(OutputError, match="control character"):
            find_outputs(stdout, scratch, None)
    else:
        assert names(find_outputs(stdout, scratch, None)) == [literal]


def test_an_absolute_path_below_the_scratch_folder_is_named_by_its_end(scratch: Path) -> None:
    (scratch / "a").mkdir()
    (scratch / "a/b.txt").touch()
    assert names(found(scratch, f"{scratch}/a/b.txt\n{scratch}//a/./b.txt")) == ["a/b.txt"]


def test_a_scratch_folder_behind_a_link_is_the_same(scratch: Path, tmp_path: Path) -> None:
    (scratch / "r.txt").touch()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    (tmp_path / "stdout").write_text(f"{link}/scratch/r.txt\n{scratch}/r.txt\n")
    assert names(find_outputs(tmp_path / "stdout", link / "scratch", None)) == ["r.txt"]


def test_a_link_is_delivered_under_the_name_that_was_printed(scratch: Path) -> None:
    (scratch / "step-000017.pt").write_text("weights")
    (scratch / "latest.pt").symlink_to("step-000017.pt")
    (output,) = found(scratch, "latest.pt").files
    assert (output.name, output.content) == ("latest.pt", b"weights")


def test_files_below_a_linked_folder_have_the_name_that_was_printed(scratch: Path) -> None:
    (scratch / "run-17").mkdir()
    (scratch / "run-17/a.txt").touch()
    (scratch / "run-17/b").mkdir()
    (scratch / "run-17/b/c.txt").touch()
    (scratch / "latest").symlink_to("run-17")
    assert names(found(scratch, "latest")) == ["latest/a.txt", "latest/b/c.txt"]
    assert names(found(scratch, "latest/b/c.txt")) == ["latest/b/c.txt"]


def test_size_hash_and_content_are_those_of_the_file(scratch: Path) -> None:
    (scratch / "small").write_bytes(b"small")
    large = os.urandom(CONTENT_BYTES + 1)
    (scratch / "large").write_bytes(large)
    small_one, large_one = found(scratch, "small\nlarge")
    assert (small_one.size, small_one.content) == (5, b"small")
    assert small_one.sha256 == hashlib.sha256(b"small").hexdigest()
    assert (large_one.size, large_one.content) == (len(large), None)
    assert large_one.sha256 == hashlib.sha256(large).hexdigest()


def test_what_is_held_in_memory_is_bounded_for_all_files_together(scratch: Path) -> None:
    (scratch / "d").mkdir()
    for number in range(10):
        (scratch / f"d/{number}").write_bytes(bytes(CONTENT_BYTES))
    outputs = found(scratch, "d")
    assert sum(len(file.content or b"") for file in outputs) == CONTENTS_BYTES
    assert {file.sha256 for file in outputs} == {hashlib.sha256(bytes(CONTENT_BYTES)).hexdigest()}


# Errors on paths below the scratch folder


@contextmanager
def as_a_user_without_rights() -> Iterator[None]:
    """Let this thread look at files as nobody does, also if the tests are run by root."""
    libc = ctypes.CDLL(None)
    before = libc.setfsuid(65534) if os.geteuid() == 0 else os.geteuid()
    try:
        yield
    finally:
        libc.setfsuid(before)


@pytest.fixture
def open_scratch() -> Iterator[Path]:
    """A scratch folder that every user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        scratch = Path(folder, "scratch")
        scratch.mkdir(mode=0o755)
        yield scratch
        subprocess.run(["chmod", "-R", "u+rwx", folder], check=True)


@pytest.mark.parametrize(
    ("locked", "said"),
    [
        ("a.txt", "a.txt"),
        ("d/b.txt", "d"),
        ("d/e", "d"),
        ("d/e", "d/e/c.txt"),
        ("d/e", "d/e"),
        (".", "a.txt"),
    ],
)
def test_what_cannot_be_read_is_an_error_and_no_remark(
    open_scratch: Path, locked: str, said: str
) -> None:
    (open_scratch / "d/e").mkdir(parents=True)
    for name in ("a.txt", "d/b.txt", "d/e/c.txt"):
        (open_scratch / name).touch()
    (open_scratch / locked).chmod(0)
    stdout = open_scratch.parent / "stdout"
    stdout.write_text(f"{said}\n")
    with as_a_user_without_rights(), pytest.raises(OutputError, match="Permission denied"):
        find_outputs(stdout, open_scratch, None)


def test_a_name_that_is_too_long_is_an_error(scratch: Path) -> None:
    (scratch / "d").mkdir()
    with pytest.raises(OutputError, match="File name too long"):
        found(scratch, f"d/{'x' * 300}")


def test_a_circle_of_links_is_an_error(scratch: Path) -> None:
    (scratch / "a").symlink_to("b")
    (scratch / "b").symlink_to("a")
    with pytest.raises(OutputError, match="symbolic links"):
        found(scratch, "a")


def test_a_link_to_nothing_is_an_error(scratch: Path) -> None:
    (scratch / "a").symlink_to("nothing")
    with pytest.raises(OutputError, match="is a broken link"):
        found(scratch, "a")


def test_folders_deeper_than_any_path_are_an_error(scratch: Path) -> None:
    nest = "import os\nfor _ in range(300): os.mkdir('d' * 20); os.chdir('d' * 20)\nopen('f', 'w')"
    subprocess.run([sys.executable, "-c", nest], cwd=scratch, check=True)
    with pytest.raises(OutputError, match="File name too long"):
        found(scratch, "d" * 20)
    isolation.remove(scratch)  # pytest cannot


def test_a_remark_as_long_as_a_book_is_a_remark(scratch: Path) -> None:
    (scratch / "a").touch()
    assert names(found(scratch, "word " * 100_000 + "\na")) == ["a"]


# Hints


@pytest.mark.parametrize(
    "line",
    ["results/x.txt", "x.csv", "./out.tar.gz", "a-b_c/d=1/part.parquet", "'x.png'", "\rx.json"],
)
def test_a_line_that_looks_like_a_path_and_leads_nowhere_is_told(scratch: Path, line: str) -> None:
    outputs = found(scratch, line)
    assert outputs.leads_nowhere == (line.strip("'\r"),)
    assert not outputs.files


@pytest.mark.parametrize(
    "line",
    ["done", "loss=0.125", "3.14", "12:30:01.123", "a b.txt", "N/A", "1/10", "v1.2.3", "...",
     "Done.", "https://example.com/x.html", "{'a': 1.5}", "f(x.y)", "2026-01-01", "", "50%"],
)  # fmt: skip
def test_a_remark_is_not_taken_for_a_path(scratch: Path, line: str) -> None:
    assert found(scratch, line).leads_nowhere == ()


def test_few_lines_are_told_and_each_is_short(scratch: Path) -> None:
    outputs = found(scratch, "\n".join(f"{'x' * 200}{n}.txt" for n in range(100)))
    assert len(outputs.leads_nowhere) == 5
    assert max(map(len, outputs.leads_nowhere)) <= 120


def test_files_that_were_made_and_not_named_are_told(scratch: Path) -> None:
    (scratch / "made.txt").touch()
    (scratch / "named.txt").touch()
    (scratch / "d").mkdir()
    (scratch / "d/deep.txt").touch()
    for hidden in (".parallelize", "__pycache__", ".cache"):
        (scratch / hidden).mkdir()
        (scratch / hidden / "x").touch()
    outputs = found(scratch, "named.txt")
    assert (outputs.left, outputs.left_count) == (("d/deep.txt", "made.txt"), 2)


def test_what_a_link_has_delivered_was_not_left(scratch: Path) -> None:
    (scratch / "real").touch()
    (scratch / "link").symlink_to("real")
    assert found(scratch, "link").left_count == 0


def test_hints_can_be_printed(scratch: Path) -> None:
    (scratch / "\x1b[2J\udcff").touch()
    (hint,) = found(scratch, "").left
    assert hint.isprintable()


# The environment


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with a small folder and one that is too large to be copied."""
    folder = tmp_path / "environment"
    (folder / "results").mkdir(parents=True)
    (folder / "results/.gitkeep").touch()
    (folder / "results/template.csv").write_text("a,b\n")
    (folder / "model.bin").touch()
    (folder / "data").mkdir()
    for number in range(100):
        (folder / f"data/{number}").touch()
    return folder


@pytest.fixture
def furnished(scratch: Path, environment: Path) -> Path:
    Furnishing.of(environment).put_into(scratch)
    return scratch


def test_a_result_written_into_a_small_folder_of_the_environment_is_an_output(
    furnished: Path, environment: Path
) -> None:
    (furnished / "results/x.txt").write_text("x")
    assert names(found(furnished, "results/x.txt", environment)) == ["results/x.txt"]
    assert not (environment / "results/x.txt").exists()


def test_of_a_printed_folder_only_what_the_job_has_made_or_changed_is_an_output(
    furnished: Path, environment: Path
) -> None:
    (furnished / "results/x.txt").touch()
    (furnished / "results/template.csv").write_text("1,2\n3,4\n")
    assert names(found(furnished, "results", environment)) == [
        "results/template.csv",
        "results/x.txt",
    ]
    assert (environment / "results/template.csv").read_text() == "a,b\n"


@pytest.mark.parametrize(
    "line", ["model.bin", "results", "results/template.csv", "data", "data/7", "./data/../data/7"]
)
def test_what_the_environment_brought_along_is_a_remark(
    furnished: Path, environment: Path, line: str
) -> None:
    outputs = found(furnished, f"{line}\n{environment}/model.bin", environment)
    assert (outputs.files, outputs.left, outputs.leads_nowhere) == ((), (), ())


@pytest.mark.parametrize("line", ["data/new", "data", "data/7", "model.bin"])
def test_what_a_job_could_write_into_the_environment_all_the_same_is_an_error(
    furnished: Path, environment: Path, line: str
) -> None:
    until_later(furnished / "data", environment / "data/7")
    for name in ("data/new", "data/7", "model.bin"):
        (environment / name).write_text("new")
    with pytest.raises(OutputError, match="all jobs share"):
        found(furnished, line, environment)


def test_a_link_that_the_job_has_made_into_the_environment_is_no_output(
    furnished: Path, environment: Path
) -> None:
    (furnished / "mine").symlink_to(environment / "model.bin")
    with pytest.raises(OutputError, match="all jobs share"):
        found(furnished, "mine", environment)


def until_later(link: Path, probe: Path) -> None:
    """Wait until the file system's clock has moved on since a link was made."""
    while probe.stat().st_ctime_ns <= link.lstat().st_ctime_ns:
        probe.chmod(0o644)


# Outside


@pytest.mark.parametrize(
    "line", ["../outside.txt", "..", "d/up/outside.txt", "d/up", "/etc/passwd"]
)
def test_a_line_that_names_something_outside_is_an_error(scratch: Path, line: str) -> None:
    (scratch / "d").mkdir()
    (scratch / "d/up").symlink_to("../..")
    with pytest.raises(OutputError, match="stdout names a path outside"):
        found(scratch, line)


def test_a_folder_with_a_link_that_leads_outside_is_an_error(scratch: Path) -> None:
    (scratch / "d").mkdir()
    (scratch / "d/link").symlink_to("../../outside.txt")
    with pytest.raises(OutputError, match="leads outside"):
        found(scratch, "d")


def test_a_way_back_from_a_linked_folder_is_named_by_where_it_leads(scratch: Path) -> None:
    (scratch / "deep/folder").mkdir(parents=True)
    (scratch / "deep/x.txt").touch()
    (scratch / "link").symlink_to("deep/folder")
    assert names(found(scratch, "link/../x.txt")) == ["deep/x.txt"]


def test_scripts_find_it_at_a_path_that_stays_and_can_count_and_go_through_the_files(
    tmp_path: Path,
) -> None:
    from parallelize_agent import outputs  # noqa: PLC0415 - the import is what is tested

    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/r.txt").write_text("x")
    (tmp_path / "stdout").write_text("r.txt\n")
    found = outputs.find_outputs(tmp_path / "stdout", tmp_path / "scratch", None)
    assert (len(found), [file.name for file in found]) == (1, ["r.txt"])
