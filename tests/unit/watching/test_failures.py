import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.watching.scene import Scene, failure

from parallelize.cli import make_app
from parallelize.commands.failures import listing
from parallelize.console import WIDTH
from parallelize.runs.ending import end_lines
from parallelize.runs.failed import as_json, group, label, last_words, see_one, summary
from parallelize.runs.status import status_of
from parallelize_core.result import Cause


def test_failures_with_the_same_end_and_last_words_are_one_group_the_largest_first() -> None:
    timeout = failure("z", cause=Cause.TIMEOUT, message="over 30 s", exit_code=-15)
    groups = group([timeout, failure("a"), failure("b")])
    assert [(found.label, found.keys) for found in groups] == [
        ("exit 1", ("a", "b")),
        ("timeout", ("z",)),
    ]


def test_a_signal_is_called_one() -> None:
    assert label(failure("a", exit_code=-11)) == "signal 11"


def test_the_last_words_are_the_last_line_that_says_something() -> None:
    assert last_words(failure("a", stderr_tail="one\nValueError: two\n\n  \n")) == (
        '"ValueError: two"'
    )


def test_without_stderr_our_own_message_speaks() -> None:
    said = failure("a", stderr_tail="", message="nothing on stdout\nfix: print a path")
    assert last_words(said) == "nothing on stdout"


def test_the_json_has_the_fields_that_others_rely_on() -> None:
    document = as_json(failure("a", exit_code=None, cause=Cause.INPUT))
    assert {"key", "cause", "exit_code", "attempts", "worker", "stderr_tail"} <= document.keys()
    assert (document["cause"], document["attempts"]) == ("input", 3)


@given(
    st.lists(
        st.builds(failure, st.text(min_size=1, max_size=300), stderr_tail=st.text(max_size=300)),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_every_line_about_failures_fits_and_is_harmless(found: list) -> None:
    for line in [*summary(found), *listing(found)]:
        assert len(line) <= WIDTH
        assert not any(ord(character) < 32 for character in line)


@pytest.mark.parametrize("key", ["a b's.tif", "-rf.tif", "$HOME;ls", "ünï 文.txt"])
def test_the_command_to_see_a_failure_can_be_pasted(key: str) -> None:
    _, name, *words = shlex.split(see_one(key, " --local"))
    _called, bound, _ = make_app().parse_args([name, *words], exit_on_error=False)
    assert bound.arguments["file"] == key
    assert bound.arguments["common"].local


@pytest.mark.parametrize("key", ["a" * 200, "a\nb", "\x1b[2J"])
def test_a_name_that_cannot_be_typed_is_left_to_the_reader(key: str) -> None:
    assert see_one(key, " --local") == "parallelize logs FILE --local"


def test_the_end_tells_how_to_see_a_failure_and_how_to_try_again_here() -> None:
    scene = Scene()
    scene.prepare("b")
    scene.fail("b")
    status = status_of(scene.snapshot())
    text = "\n".join(end_lines(status, [failure("b")], 0, " --local"))
    assert "parallelize logs b --local" in text
    assert "parallelize retry --local" in text
    assert "all ended (checked)" in text


@pytest.mark.parametrize(("folder", "shown"), [("", "file://"), ("x" * 100, "scans-report.html")])
def test_the_end_names_the_report_in_a_line_that_fits(folder: str, shown: str) -> None:
    page = Path("/", folder, "scans-report.html")
    lines = end_lines(status_of(Scene().snapshot()), [], 0, "", page)
    [line] = [line for line in lines if line.startswith("report:")]
    assert shown in line
    assert line.endswith("scans-report.html")
    assert not folder or "file:" not in line


def test_a_summary_of_many_different_failures_names_some_and_counts_the_others() -> None:
    results = [failure(f"{n}.txt", stderr_tail=f"error {n}") for n in range(300)]
    lines = summary(results)
    assert len(lines) < 20
    counts = [int(line.split()[0]) for line in lines]
    assert sum(counts) == 300
    assert "parallelize failures" in lines[-1]
