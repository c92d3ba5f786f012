"""Which input keys are accepted, and why the others are refused.

A key comes from outside: from a folder, a bucket listing or a queue message. It becomes a file
name on a worker, a part of S3 keys, and a path below the folder that `download` writes to.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

MAX_S3_KEY_BYTES = 1024
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

MAX_FILE_NAME_BYTES = 255
"""The longest file name on Linux (NAME_MAX)."""

_REFUSED_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
"""Control characters, and the two that neither SQS nor a listing of S3 can transport.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

_UNRESERVED = re.compile(r"[\w.~/-]*", re.ASCII)
"""What stays as it is in a URL: https://www.rfc-editor.org/rfc/rfc3986#section-2.3"""

_NAMES = {"\n": "newline", "\r": "carriage return", "\t": "tab"}


def refusal(key: str) -> str | None:
    """Say why `key` cannot be an input key, or return None when it can."""
    if not key:
        return "it is empty"
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    if size > MAX_S3_KEY_BYTES:
        return f"it has {size:,} bytes, and S3 allows {MAX_S3_KEY_BYTES:,}"
    if found := _REFUSED_CHARACTERS.search(key):
        return f"it has a control character: {_NAMES.get(found[0], f'U+{ord(found[0]):04X}')}"
    parts = key.split("/")
    # Most whole keys are shorter than a part may be, and a million of them are checked.
    if size > MAX_FILE_NAME_BYTES and any(len(p.encode()) > MAX_FILE_NAME_BYTES for p in parts):
        return f"a part of it is longer than {MAX_FILE_NAME_BYTES} bytes"
    return _part_refusal(parts)


def checked(key: str) -> str:
    """Return `key` if it can be an input key; raise ValueError, for pydantic, if it cannot."""
    if reason := refusal(key):
        raise ValueError(f"the key is refused: {reason}")
    return key


def _part_refusal(parts: list[str]) -> str | None:
    if "" in parts:
        return "it has an empty part (a leading, trailing or doubled slash)"
    if "." in parts or ".." in parts:
        return 'it has a part "." or "..", which could lead out of its folder'
    return None


def quoted(text: str) -> str:
    """Return a key percent-encoded as S3 and URLs have it, its slashes unchanged."""
    # Most keys need no encoding, and `quote` takes as long as the rest of a signature.
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="/")


def shorten(key: str, limit: int = MAX_S3_KEY_BYTES) -> str:
    """Return `key` unchanged if it fits into `limit` bytes, else its start and its SHA-256.

    Results and logs live under keys that are longer than the input's own. The mapping goes one
    way only; the record inside holds the whole key.
    """
    raw = key.encode("utf-8")
    if len(raw) <= limit:
        return key
    digest = hashlib.sha256(raw).hexdigest()
    start = raw[: limit - len(digest) - 1].decode("utf-8", errors="ignore")
    return f"{start}~{digest}"
