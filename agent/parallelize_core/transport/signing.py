"""Signature Version 4.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""In place of a body's digest, where TLS and a checksum already protect the body."""

_UNSIGNED_HEADERS = frozenset({"expect", "user-agent"})
"""Headers that a proxy may change."""

_BLANKS = re.compile(" [ \n]|: ")
"""Where a header's value may begin or end with a blank, or have two in a row."""


class Keys(NamedTuple):
    """Credentials at one moment."""

    access: str
    secret: str
    token: str | None = None


class Stamp(NamedTuple):
    """A time in the form that signatures use: `20260102T030405Z`."""

    text: str
    day: str

    @classmethod
    def at(cls, seconds: float) -> Stamp:
        """Return the stamp of a time in seconds since 1970."""
        text = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
        return cls(text, text[:8])


class Signer:
    """Signs requests to one service in one region."""

    def __init__(self, service: str, region: str) -> None:
        self._scope = f"{region}/{service}/aws4_request"
        self._parts = (region, service, "aws4_request")
        # A key holds for a day: deriving it takes as long as the rest of a signature.
        self._derived: tuple[str, str] = ("", "")
        self._mac = _Mac(b"")

    def authorization(  # noqa: PLR0913, PLR0917 - the parts of a request
        self,
        method: str,
        path: str,
        query: str,
        headers: Iterable[tuple[str, str]],
        digest: str,
        keys: Keys,
        stamp: Stamp,
    ) -> str:
        """Return the value of the Authorization header.

        `path` and `query` are as sent, the query's parts sorted; the names of
        `headers` are in lower case and unique; `digest` is the body's SHA-256 or its stand-in.
        """
        signed = sorted([item for item in headers if item[0] not in _UNSIGNED_HEADERS])
        names = ";".join([name for name, _ in signed])
        signature = self.signature(
            canonical(method, path, query, signed, digest), keys.secret, stamp
        )
        return (
            f"AWS4-HMAC-SHA256 Credential={keys.access}/{stamp.day}/{self._scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )

    def signature(self, request: str, secret: str, stamp: Stamp) -> str:
        """Return the signature of a request in the form that `canonical` gives it."""
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{stamp.text}\n{stamp.day}/{self._scope}\n{digest}"
        return self._mac_for(secret, stamp.day).hexdigest(to_sign.encode())

    def _mac_for(self, secret: str, day: str) -> _Mac:
        if self._derived != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, *self._parts):
                key = hmac.digest(key, part.encode(), "sha256")
            self._mac, self._derived = _Mac(key), (secret, day)
        return self._mac


class _Mac:
    """HMAC-SHA256 with one key, see https://www.rfc-editor.org/rfc/rfc2104.

    hmac.digest takes twice as long and releases the interpreter's lock, and with
    many slots it takes long to get it back.
    """

    def __init__(self, key: bytes) -> None:
        block = key.ljust(hashlib.sha256().block_size, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def hexdigest(self, message: bytes) -> str:
        """Return the code of a message in hexadecimal digits."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()


def canonical(
    method: str, path: str, query: str, signed: Sequence[tuple[str, str]], digest: str
) -> str:
    """Return what is signed of a request; the headers `signed` are in order."""
    names = ";".join([name for name, _ in signed])
    return f"{method}\n{path}\n{query}\n{_lines(signed)}\n{names}\n{digest}"


def _lines(headers: Sequence[tuple[str, str]]) -> str:
    """Return headers as they are signed: without superfluous blanks, which few have."""
    lines = "".join([f"{name}:{value}\n" for name, value in headers])
    if lines.replace("\n", "").isprintable() and lines.isascii() and not _BLANKS.search(lines):
        return lines
    return "".join([f"{name}:{_trimmed(value)}\n" for name, value in headers])


def _trimmed(value: str) -> str:
    return " ".join(value.split()) if "  " in value or value != value.strip() else value
