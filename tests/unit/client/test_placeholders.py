"""Placeholders in a command's text are those without quotes; those of a shell's words are all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.runs.environment.placeholders import as_text, split_template
from parallelize.runs.record.run_record import command_words
from parallelize.setting_tables import RunTable
from parallelize_core.errors import UsageError
from parallelize_core.template import Given


def run_as(text: str, path: str = "/in/d/a.jpg") -> tuple[str, ...] | None:
    template = split_template(text)
    return template and template.grammar.filled(template.words, Given((path,), number=7))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("convert {} -resize 50% {/.}.png", ("convert", "/in/d/a.jpg", "-resize", "50%", "a.png")),
        ("./job.sh --out={/.}.png {}", ("./job.sh", "--out=a.png", "/in/d/a.jpg")),
        ("./job.sh 'two words'/{/} {}", ("./job.sh", "two words/a.jpg", "/in/d/a.jpg")),
        ("""./job.sh {} --json '{"a": {}}'""", ("./job.sh", "/in/d/a.jpg", "--json", '{"a": {}}')),
        ("./job.sh {} \\{\\}", ("./job.sh", "/in/d/a.jpg", "{}")),
        ("./job.sh {} {{}}", ("./job.sh", "/in/d/a.jpg", "{}")),
    ],
)
def test_the_input_takes_its_places_and_what_is_quoted_stays(
    text: str, words: tuple[str, ...]
) -> None:
    assert run_as(text) == words


@pytest.mark.parametrize(
    "text", ["./job.sh --fast", "./job.sh '{}'", """./job.sh --json '{"a": {}}'""", "a {b} {a,b}"]
)
def test_a_command_without_a_place_is_no_template(text: str) -> None:
    assert split_template(text) is None


@pytest.mark.parametrize("unknown", ["{%}", "{0}", "{##}", "{-1}", "{:}"])
@pytest.mark.parametrize("text", ["./job.sh {} UNKNOWN", "./job.sh x=UNKNOWN"])
def test_what_gnu_parallel_has_besides_is_refused_with_what_there_is(
    text: str, unknown: str
) -> None:
    with pytest.raises(UsageError, match="is not a known placeholder") as caught:
        split_template(text.replace("UNKNOWN", unknown))
    assert unknown in caught.value.what
    assert "{/.}" in (caught.value.fix or "")


@pytest.mark.parametrize("unknown", ["{%}", "{-1}"])
def test_an_unknown_placeholder_of_a_shells_word_is_refused_too(unknown: str) -> None:
    with pytest.raises(UsageError, match="is not a known placeholder"):
        split_template(as_text(["tool", f"n={unknown}", "{}"]))


WORDS = st.lists(st.text(st.sampled_from("ab {}/.'\"\\$|;*~#é=-"), max_size=8), min_size=1)


@given(words=WORDS, path=st.sampled_from(["/in/d/a.jpg", "/in/x y/'{}.b"]))
def test_words_of_a_shell_come_back_as_they_were_but_for_the_input(
    words: list[str], path: str
) -> None:
    words = ["tool", "{}", *words]
    try:
        text = as_text(words)
        split = split_template(text)
    except UsageError:
        return  # a placeholder that is not known
    assert split is not None
    given = Given((path,), number=7)
    assert split.grammar.filled(split.words, given) == split.grammar.filled(words, given)


@given(words=WORDS, cell=st.text(max_size=5))
def test_words_of_a_shell_come_back_with_what_is_in_their_columns(
    words: list[str], cell: str
) -> None:
    words = ["tool", "{ab}", *words]
    columns = ("ab", "b", "a-b")
    try:
        split = split_template(as_text(words), columns)
    except UsageError:
        return  # a placeholder or a column that is not known
    assert split is not None
    given = Given(("/in/a.jpg", "/in/b"), dict.fromkeys(columns, cell), 7)
    assert split.grammar.filled(split.words, given) == split.grammar.filled(words, given)


def test_a_column_in_quotes_is_literal_and_one_that_is_not_there_is_refused() -> None:
    split = split_template("awk '{lr}' {lr} {1/.}", ("lr",))
    assert split
    given = Given(("/in/a.csv",), {"lr": "0.1"})
    assert split.grammar.filled(split.words, given) == ("awk", "{lr}", "0.1", "a")
    with pytest.raises(UsageError, match=r"\{lt/\.\}, but the jobs have no such column"):
        split_template("./job.sh {lr} {lt/.}", ("lr",))


def test_one_word_with_blanks_is_a_whole_command() -> None:
    assert as_text(["wc -l {}"]) == "wc -l {}"
    assert as_text(["./job.sh"]) == "./job.sh"


def test_a_command_that_serves_many_files_has_no_place_for_one() -> None:
    with pytest.raises(UsageError, match=r"run\.serve is set"):
        command_words(RunTable(command="./job.sh {}", serve=True))
    assert command_words(RunTable(command="./job.sh", serve=True)) == (("./job.sh",), None)
