"""One page of a listing, in the ways in which servers write it."""

from __future__ import annotations

import pytest

from parallelize_core.store import ObjectInfo
from parallelize_core.transport.answers import Reply
from parallelize_core.transport.listing import read_page

KEY, TIME, SIZE = "<Key>in/a.txt</Key>", "<LastModified>2026</LastModified>", "<Size>12</Size>"
QUOTED, PLAIN = "<ETag>&quot;ab&quot;</ETag>", '<ETag>"ab"</ETag>'
CHECKSUM = "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"


def page(content: str, encoding: str = "<EncodingType>url</EncodingType>") -> Reply:
    return Reply(
        200,
        {},
        f"<ListBucketResult><IsTruncated>false</IsTruncated>{encoding}"
        f"<Contents>{content}<StorageClass>STANDARD</StorageClass></Contents>"
        "</ListBucketResult>".encode(),
    )


@pytest.mark.parametrize(
    "content",
    [
        KEY + TIME + QUOTED + SIZE,
        KEY + TIME + QUOTED + CHECKSUM + SIZE,
        KEY + TIME + PLAIN + SIZE,
        "\n  " + KEY + "\n  " + SIZE + "\n  " + QUOTED,
    ],
)
def test_an_object_is_the_same_in_whichever_order_its_fields_come(content: str) -> None:
    assert read_page(page(content)).found == [ObjectInfo("in/a.txt", 12, "ab")]


@pytest.mark.parametrize(
    ("encoding", "written", "key"),
    [
        ("<EncodingType>url</EncodingType>", "a%20b+c", "a b c"),
        ("", "a%20b+c", "a%20b+c"),
        ("", "a&amp;b", "a&b"),
    ],
)
def test_a_key_is_decoded_as_the_page_says_that_it_is_written(
    encoding: str, written: str, key: str
) -> None:
    reply = page(f"<Key>{written}</Key>{TIME}{QUOTED}{SIZE}", encoding)
    assert [info.key for info in read_page(reply).found] == [key]
