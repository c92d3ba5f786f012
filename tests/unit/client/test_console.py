import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.console import WIDTH, escape, fit, say_plan, show_error, shown
from parallelize_core.errors import UsageError


@given(st.text())
def test_an_escaped_name_is_one_line_and_steers_no_terminal(name: str) -> None:
    safe = escape(name)
    assert len(safe.splitlines()) <= 1
    assert "\x1b" not in safe
    assert "\u202e" not in safe


@given(st.text(min_size=1), st.integers(min_value=8, max_value=60))
def test_a_shown_name_has_no_more_than_its_width(name: str, width: int) -> None:
    assert len(shown(name, width)) <= width


@given(st.lists(st.text(alphabet="abc-é", min_size=1, max_size=40), max_size=40))
def test_lines_of_ordinary_words_fit_in_80_columns(words: list[str]) -> None:
    assert all(len(line) <= WIDTH for line in fit(" ".join(words)).split("\n"))


@given(st.lists(st.text(alphabet="abc-:/", min_size=1, max_size=200), max_size=9))
def test_a_word_that_is_longer_than_a_line_stays_whole(words: list[str]) -> None:
    """Names of resources, addresses and commands are copied from what is said."""
    assert fit(" ".join(words)).split() == words


def test_an_error_says_what_why_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(UsageError("it is wrong", "because", "mend it"))
    printed = capsys.readouterr()
    assert printed.err == "error: it is wrong\n  because\n  fix: mend it\n"
    assert printed.out == ""


def test_each_line_of_a_plan_says_that_it_is_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    say_plan("would delete " + "something " * 20)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert all(line.startswith("(dry run) ") and len(line) <= WIDTH for line in lines)
