import shlex
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.watching.scene import Scene, failure

from parallelize.cli import make_app
from parallelize.console import WIDTH, fit
from parallelize.runs.results.failed import (
    as_json,
    group,
    label,
    last_words,
    listing,
    see_one,
    summary,
)
from parallelize.runs.state.ending import end_lines
from parallelize.runs.state.status import status_of
from parallelize_core.result import Cause


def test_failures_with_the_same_end_and_last_words_are_one_group_the_largest_first() -> None:
    timeout = failure("z", cause=Cause.TIMEOUT, message="over 30 s", exit_code=-15)
    groups = group([timeout, failure("a"), failure("b")])
    assert [(found.label, found.keys) for found in groups] == [
        ("exit 1", ("a", "b")),
        ("timeout", ("z",)),
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ValueError: bad header in {name}", "ValueError: bad header in FILE"),
        ("cannot read '/srv/jobs/7/in/{key}'", "cannot read 'FILE'"),
        ("{stem}: 3 columns, not 4", "FILE: 3 columns, not 4"),
        ("open(/tmp/x/{name}): denied", "open(FILE): denied"),
    ],
)
def test_failures_that_differ_only_in_their_own_name_are_one_group(said: str, told: str) -> None:
    keys = ["deep/scan (1).tif", "deep/scan (2).tif"]
    results = [
        failure(key, stderr_tail=said.format(key=key, name=key[5:], stem=key[5:-4])) for key in keys
    ]
    [found] = group(results)
    assert (found.words, found.keys) == (f'"{told}"', tuple(keys))


def test_a_failure_that_is_alone_keeps_its_words() -> None:
    [found] = group([failure("scan.tif", stderr_tail="bad header in scan.tif")])
    assert found.words == '"bad header in scan.tif"'


def test_a_last_line_without_an_end_takes_no_time_to_be_compared() -> None:
    said = [failure(f"scan{number}.tif", stderr_tail="/" * 100_000) for number in range(20)]
    assert len(group(said)) == 1


def test_words_that_only_hold_a_name_as_a_part_stay() -> None:
    said = [failure(key, stderr_tail="value error") for key in ("val.c", "err.c")]
    assert [found.words for found in group(said)] == ['"value error"']


def test_a_command_that_ended_without_a_word_is_told_to_have() -> None:
    killed = failure("a", exit_code=-11, message="signal 11", stderr_tail="")
    assert last_words(killed) == "Segmentation fault; nothing on stderr"
    assert last_words(failure("a", message="exit 1", stderr_tail="")) == "nothing on stderr"
    odd = failure("a", exit_code=-200, message="signal 200", stderr_tail="")
    assert last_words(odd) == "nothing on stderr"


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
@example([failure("k", stderr_tail="0" * 71)])
def test_every_line_about_failures_fits_and_is_harmless(found: list) -> None:
    for line in [*fit("\n".join(summary(found))).split("\n"), *listing(found)]:
        is_word = " " not in line.strip()  # which can be copied whole
        assert len(line) <= WIDTH or is_word
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
    assert "all terminated (verified)" in text


@pytest.mark.parametrize(("folder", "shown"), [("", "file://"), ("x" * 100, "scans-report.html")])
def test_the_end_names_the_report_in_a_line_that_fits(folder: str, shown: str) -> None:
    page = Path("/", folder, "scans-report.html")
    lines = end_lines(status_of(Scene().snapshot()), [], 0, "", page)
    [line] = [line for line in lines if line.startswith("report:")]
    assert shown in line
    assert line.endswith("scans-report.html")
    assert not folder or "file:" not in line


def test_a_summary_of_many_different_failures_names_some_and_counts_the_others() -> None:
    results = [failure(f"{n}.txt", stderr_tail=f"error {'x' * n}") for n in range(300)]
    lines = summary(results)
    assert len(lines) < 25
    counts = [int(line.split()[0]) for line in [*lines[:-1:2], lines[-1]]]
    assert sum(counts) == 300
    assert "parallelize failures" in lines[-1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ValueError at line 12", "ValueError at line 407"),
        ("lost 10.0.0.1:8080 after 3.5 s", "lost 10.0.0.7:80 after 12 s"),
        ("bad pointer 0x7ffe12", "bad pointer 0x1b00"),
    ],
)
def test_failures_that_differ_in_numbers_only_are_one_group(one: str, other: str) -> None:
    [found] = group([failure("a.txt", stderr_tail=one), failure("b.txt", stderr_tail=other)])
    assert found.keys == ("a.txt", "b.txt")
    assert "N" in found.words


def test_a_group_of_equal_failures_keeps_their_numbers() -> None:
    [found] = group([failure(key, stderr_tail="line 12") for key in ("a.txt", "b.txt")])
    assert found.words == '"line 12"'


def test_a_reason_is_told_in_full() -> None:
    reason = "ValueError: " + "a long story about what is wrong with this file " * 5
    [line, _] = summary([failure("a.txt", stderr_tail=reason)])
    assert reason.strip() in line
    assert reason.strip() in "".join(listing([failure("a.txt", stderr_tail=reason)], 1_000))
