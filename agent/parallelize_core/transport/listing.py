"""One page of a bucket listing, read without building a tree of a thousand elements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

from parallelize_core.errors import UnavailableError
from parallelize_core.store import ObjectInfo, seconds_of
from parallelize_core.transport.answers import Reply, field_of, unescape

_USUAL = re.compile(
    r"<Key>([^<&%+]+)</Key><LastModified>([^<]*)</LastModified><ETag>&quot;([^<&\"]+)&quot;</ETag>"
    r"(?:<Checksum\w+>[^<]*</Checksum\w+>)*<Size>([0-9]+)</Size>"
)
"""The usual form of an entry, whose key needs no decoding; a listing may have a million."""

_FOLDER = re.compile("<CommonPrefixes><Prefix>([^<]*)</Prefix>")


class ListingPage(NamedTuple):
    """Objects in key order, the token of the next page, which is empty after the last, and folders.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
    """

    found: list[ObjectInfo]
    token: str
    folders: Sequence[str] = ()
    """Their keys, with the delimiter at the end."""

    def names(self, prefix: str) -> list[str]:
        """Return what follows `prefix` in the folders' keys, without the delimiter."""
        return [key.removeprefix(prefix).removesuffix("/") for key in self.folders]


def query(prefix: str, after: str = "", token: str = "", delimiter: str = "") -> str:
    """Return the query for a page: after a key, or where an earlier page ended."""
    # Sorted by name, as the signature requires.
    fields = {
        "continuation-token": token,
        "delimiter": delimiter,
        # XML cannot represent every character that a key may have.
        "encoding-type": "url",
        "list-type": "2",
        "prefix": prefix,
        "start-after": "" if token else after,
    }
    needed = ("prefix",)
    return "&".join(
        f"{name}={quote(value, safe='')}"
        for name, value in fields.items()
        if value or name in needed
    )


def read_page(reply: Reply) -> ListingPage:
    """Read a response; raise UnavailableError if it breaks off."""
    more = field_of(reply.body, "IsTruncated")
    token = field_of(reply.body, "NextContinuationToken")
    if more not in {"true", "false"} or (more == "true" and not token):
        raise UnavailableError(
            "an answer of S3 is incomplete", "it does not tell whether it is all"
        )
    encoded = field_of(reply.body, "EncodingType") == "url"
    # With a delimiter, folders are listed apart from the objects.
    pieces = reply.body.decode().split("<Contents>")[1:]
    folders = [
        unquote_plus(key) if encoded else key
        for key in map(unescape, _FOLDER.findall(reply.body.decode()))
    ]
    listed = seconds_of(reply.headers.get("date", ""))
    found = [_object(piece, listed, encoded=encoded) for piece in pieces]
    return ListingPage(found, token, folders)


def _object(piece: str, listed: float, *, encoded: bool) -> ObjectInfo:
    if usual := _USUAL.match(piece):
        return ObjectInfo(usual[1], int(usual[4]), usual[3], written=usual[2], listed=listed)
    key, size, etag = _text(piece, "Key"), _text(piece, "Size"), _text(piece, "ETag")
    if encoded and ("%" in key or "+" in key):
        key = unquote_plus(key)
    written = _text(piece, "LastModified") if "<LastModified>" in piece else ""
    return ObjectInfo(key, int(size), etag.strip('"'), written=written, listed=listed)


def _text(piece: str, name: str) -> str:
    start = piece.find(f"<{name}>")
    end = piece.find(f"</{name}>", start)
    if start < 0 or end < 0:
        raise UnavailableError("an answer of S3 is incomplete", f"an object has no {name}")
    text = piece[start + len(name) + 2 : end]
    return unescape(text)
