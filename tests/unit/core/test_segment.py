"""Segments: a second copy of results, of which only what a listing confirms is read."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_core.errors import DecodeError
from parallelize_core.result import Output, Result
from parallelize_core.segment import encode_line, pack, read_segment


def result(key: str, log: str = "") -> Result:
    return Result(
        run="run", key=key, attempt=1, worker="w", started_at="", finished_at="",
        status="succeeded", log=log, outputs=(Output(key="o", size=1, sha256="s", etag="e"),),
    )  # fmt: skip


def test_members_one_after_the_other_are_one_segment() -> None:
    body = pack([encode_line(result("a"), "1"), encode_line(result("b"), "2")])
    body += pack([encode_line(result("c"), "3")])
    assert list(read_segment(body, {"1", "2", "3"})) == [
        ("1", result("a")),
        ("2", result("b")),
        ("3", result("c")),
    ]


def test_only_the_versions_that_are_wanted_are_read() -> None:
    body = pack([encode_line(result("a"), "old"), encode_line(result("a", "x"), "new")])
    assert [etag for etag, _ in read_segment(body, {"new"})] == ["new"]


def test_a_log_is_left_out() -> None:
    ((_, read),) = read_segment(pack([encode_line(result("a", "long"), "1")]), {"1"})
    assert read == result("a")


@given(st.binary(max_size=40))
def test_garbage_is_no_segment(body: bytes) -> None:
    for made in (body, gzip.compress(body)):
        try:
            found = list(read_segment(made, {""}))
        except DecodeError:
            continue
        assert found == []


def test_a_segment_that_breaks_off_is_refused() -> None:
    body = pack([encode_line(result(str(number)), "1") for number in range(50)])
    with pytest.raises(DecodeError):
        list(read_segment(body[:-20], {"1"}))
