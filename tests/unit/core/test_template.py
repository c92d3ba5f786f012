"""Placeholders in the words of a command mean what users of GNU parallel expect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_core.template import PLAIN, Given

NAMES = st.text(st.characters(blacklist_characters="/\0", codec="utf-8"), min_size=1).filter(
    lambda name: name not in {".", ".."}
)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("{}", "/in/photos/a.tar.gz"),
        ("{.}", "/in/photos/a.tar"),
        ("{/}", "a.tar.gz"),
        ("{/.}", "a.tar"),
        ("{//}", "/in/photos"),
        ("--out={/.}.png", "--out=a.tar.png"),
        ("{//}/{/.}-{/}", "/in/photos/a.tar-a.tar.gz"),
        ("{x}", "{x}"),
        ("{{}}", "{}"),
        ("{{/.}}-{/.}", "{/.}-a.tar"),
        ("{ }", "{ }"),
        ("plain", "plain"),
    ],
)
def test_a_placeholder_is_a_part_of_the_path(word: str, meant: str) -> None:
    assert PLAIN.filled([word], Given(("/in/photos/a.tar.gz",))) == (meant,)


@pytest.mark.parametrize(("name", "stem"), [(".bashrc", ".bashrc"), ("plain", "plain")])
def test_a_name_without_an_ending_stays_whole(name: str, stem: str) -> None:
    assert PLAIN.filled(["{/.}", "{.}"], Given((f"/in/{name}",))) == (stem, f"/in/{stem}")


@given(name=NAMES)
def test_a_hostile_name_is_one_argument_and_is_filled_in_once(name: str) -> None:
    words = PLAIN.filled(["tool", "{}", "-o", "{/}.png"], Given((f"/in/{name}",)))
    assert words == ("tool", f"/in/{name}", "-o", f"{name}.png")


@pytest.mark.parametrize(
    ("words", "has"),
    [(("a", "{}"), True), (("x{/.}y",), True), (("{", "}"), False), (("{#}",), False)],
)
def test_a_command_without_a_placeholder_has_the_input_at_its_end(
    words: tuple[str, ...], has: bool
) -> None:
    assert PLAIN.has_placeholders(words) is has


@given(text=st.text(st.sampled_from("{}/.a"), max_size=12))
def test_what_is_literal_stays_as_it_is(text: str) -> None:
    assert not PLAIN.has_placeholders([PLAIN.literal(text)])
    assert PLAIN.filled([PLAIN.literal(text)], Given(("/in/x.jpg",))) == (text,)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("{/.}.png", ["a.png"]),
        ("--out={/.}.png", ["--out=a.png", "a.png"]),
        ("{.}.mp3", ["/in/a.mp3"]),
        ("out/{/}", ["out/a.jpg"]),
        ("{}", []),
        ("{//}", []),
        ("{//}/", []),
        ("in={}", ["in=/in/a.jpg"]),
        ("fixed.png", []),
    ],
)
def test_words_made_from_the_input_may_be_outputs_and_the_input_is_none(
    word: str, names: list[str]
) -> None:
    assert list(PLAIN.named_besides([word], Given(("/in/a.jpg",)), ("/in/a.jpg",))) == names
