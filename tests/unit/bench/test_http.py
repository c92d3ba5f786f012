"""How the small cloud takes requests from a connection."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bench.small_cloud.http import Request, RequestReader, unchunk

TWO = (
    b"PUT /bucket/a%20b?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
    b"GET /bucket HTTP/1.1\r\nhost:h\r\n\r\n"
)


def read(pieces: list[bytes]) -> list[Request]:
    reader = RequestReader()
    return [request for piece in pieces for request in reader.feed(piece)]


@given(st.lists(st.integers(0, len(TWO)), max_size=6))
def test_requests_are_the_same_wherever_the_network_cuts_them(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TWO)]
    pieces = [TWO[start:end] for start, end in itertools.pairwise(edges)]
    assert read(pieces) == [
        Request("PUT", "/bucket/a%20b", "x=1", {"host": "h", "content-length": "5"}, b"hello"),
        Request("GET", "/bucket", "", {"host": "h"}, b""),
    ]


def test_a_client_that_waits_for_a_word_before_the_body_gets_it() -> None:
    reader = RequestReader()
    head = b"PUT /b/k HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    assert reader.feed(head) == []
    assert reader.expects_continue


@given(st.integers(1, 100))
def test_a_body_in_chunks_of_http_and_of_aws_is_put_together_wherever_it_is_cut(cut: int) -> None:
    """So botocore sends what it sends over TLS."""
    head = (
        b"PUT /b/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Encoding: aws-chunked\r\n\r\n"
    )
    inner = b"2\r\nab\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    place = min(cut, len(body) - 1)
    assert [one.body for one in read([head + body[:place], body[place:]])] == [b"ab"]


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"2;chunk-signature=0\r\nab\r\n1\r\nc\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n", b"abc"),
    ],
)
def test_chunks_of_aws_are_put_together(body: bytes, content: bytes) -> None:
    assert unchunk(body) == content
