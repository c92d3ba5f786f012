from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.units import parse_duration, parse_size, parse_slots, show_duration, show_size

Parser = Callable[[object], float | int | str]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800), ("1.5h", 5400), (90, 90)],
)
def test_a_time_is_read_as_people_write_it(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50GiB", 50 * 2**30),
        ("500MB", 500_000_000),
        ("1G", 2**30),
        ("12", 12),
        (7, 7),
        ("1.5 kB", 1500),
    ],
)
def test_a_size_is_read_with_its_unit(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 Bytes"), (1, "1 Byte"), (1023, "1023 Bytes"), (1024, "1.0 KiB"),
     (2**20 - 1, "1.0 MiB"), (19_756_849_561, "18.4 GiB"), (2**60, "1.0 EiB")],
)  # fmt: skip
def test_a_size_is_shown_in_the_unit_that_leaves_the_fewest_digits(size: int, text: str) -> None:
    assert show_size(size) == text


@pytest.mark.parametrize(
    ("value", "slots"), [("auto", 0), (0, 0), (4, 4), ("4", 4), ("2x", "2x"), ("0.5x", "0.5x")]
)
def test_slots_are_a_number_or_a_share_of_the_cores(value: object, slots: int | str) -> None:
    assert parse_slots(value) == slots


@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_slots])
@given(text=st.text(max_size=12))
def test_whatever_is_written_is_read_or_refused_in_words(parse: Parser, text: str) -> None:
    said = text
    try:
        parse(text)
    except ValueError as error:
        said = str(error)
    assert text in said


@given(st.floats(min_value=0, max_value=1e8))
def test_a_time_that_is_shown_can_be_read_and_is_about_the_same(seconds: float) -> None:
    again = parse_duration(show_duration(seconds))
    assert abs(again - seconds) <= max(1, seconds / 24)
