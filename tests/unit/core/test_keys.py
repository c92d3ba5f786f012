"""Which input keys are accepted, and what S3 keys are made from them."""

from __future__ import annotations

import posixpath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.strategies import accepted_key, any_key, longest_key

from parallelize_core import keys
from parallelize_core.clock import utc_now
from parallelize_core.layout import Location, RunLayout

LAYOUT = RunLayout(Location("bucket", "a/prefix/of/some/length/"), "r" * 60)
WORKER = "i-0123456789abcdef0"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "./a",
        "a/.",
        "a\nb",
        "a\x00b",
        "a\x85b",
        "\ud800",
        "x" * 256,
        "x/" * 512 + "x",
        "a\uffffb",
        "\ufffe",
    ],
)
def test_a_key_that_cannot_be_a_path_or_a_message_is_refused_with_a_reason(key: str) -> None:
    assert keys.refusal(key)


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "-rf",
        "a b.txt",
        "ünï/cødé/界.txt",
        "...",
        "a/..b/c..",
        "a~b",
        "x" * 255,
        "x/" * 511 + "xy",
    ],
)
def test_a_key_that_is_only_unusual_is_accepted(key: str) -> None:
    assert keys.refusal(key) is None


@given(any_key)
def test_an_accepted_key_never_leaves_the_folder_it_is_joined_to(key: str) -> None:
    if keys.refusal(key) is None:
        joined = posixpath.normpath(posixpath.join("/some/folder", key))
        assert joined == f"/some/folder/{key}"


@given(st.one_of(accepted_key, longest_key), st.integers(1, 999))
def test_every_key_of_the_layout_fits_in_s3(key: str, attempt: int) -> None:
    made = [
        LAYOUT.result(key),
        LAYOUT.failure(key),
        LAYOUT.claim(key),
        LAYOUT.logs(key),
        LAYOUT.attempt(key, attempt, WORKER, utc_now()),
        LAYOUT.attempt(key, attempt, WORKER, utc_now()).removesuffix(".json") + ".log",
    ]
    assert max(len(s3_key.encode()) for s3_key in made) <= keys.MAX_S3_KEY_BYTES


@given(st.one_of(accepted_key, longest_key))
def test_every_key_of_the_layout_stays_in_the_folder_of_its_kind(key: str) -> None:
    assert LAYOUT.result(key).startswith(LAYOUT.results.prefix)
    assert LAYOUT.failure(key).startswith(LAYOUT.failures.prefix)
    assert LAYOUT.claim(key).startswith(LAYOUT.root.key("claim/"))
    assert LAYOUT.attempt(key, 1, WORKER, utc_now()).startswith(LAYOUT.root.key("log/"))


@given(st.lists(st.one_of(accepted_key, longest_key), min_size=2, max_size=6, unique=True))
def test_two_inputs_never_share_a_result(inputs: list[str]) -> None:
    assert len({LAYOUT.result(key) for key in inputs}) == len(inputs)


@given(st.text(), st.integers(min_value=80, max_value=1024))
def test_shortening_keeps_what_fits_and_bounds_what_does_not(text: str, limit: int) -> None:
    text = text.encode("utf-8", "ignore").decode()
    short = keys.shorten(text, limit)
    assert len(short.encode()) <= limit
    assert (short == text) == (len(text.encode()) <= limit)


@given(st.text())
def test_a_key_is_encoded_as_the_standard_library_does_it(text: str) -> None:
    assert keys.quoted(text) == quote(text, safe="/")


def test_long_keys_that_differ_only_at_their_end_stay_different() -> None:
    start = "x" * keys.MAX_S3_KEY_BYTES
    assert keys.shorten(start + "a") != keys.shorten(start + "b")
