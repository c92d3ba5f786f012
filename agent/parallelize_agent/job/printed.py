"""Interprets lines that a command has printed as paths."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_SHOWN_CHARACTERS = 120

_COLOURS = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])"
)
"""Control sequences (CSI), those of the operating system (OSC: titles, links), and short ones.

https://www.ecma-international.org/publications-and-standards/standards/ecma-48/
"""

_BOM = b"\xef\xbb\xbf"
_QUOTES = (b"'", b'"')

_FILE_NAME = re.compile(
    rb"(?:[\w.+@%=,~\x80-\xff-]*/)*[\w+@%=,~\x80-\xff.-]*[\w\x80-\xff]\.[A-Za-z][A-Za-z0-9]{0,7}"
)
"""A path without blanks whose last part looks like a file: `a/b.csv`, `x.tar.gz`, not `3.14`."""


def readings(line: bytes) -> Iterator[bytes]:
    """Yield what a line may mean: first as printed, then with more and more taken off."""
    line = line.rstrip(b"\r")
    yield line
    text = line
    if b"\r" in text:
        text = text[text.rfind(b"\r") + 1 :]
        yield text
    if b"\x1b" in text:
        text = _COLOURS.sub(b"", text)
        yield text
    stripped = text.removeprefix(_BOM).strip()
    if stripped != text:
        yield stripped
    if stripped[:1] in _QUOTES and stripped[-1:] == stripped[:1] and len(stripped) > 2:
        yield stripped[1:-1]


def looks_like_a_path(text: bytes) -> bool:
    """Whether somebody who prints this probably means a file; false alarms are rare."""
    return b" " not in text and len(text) > 2 and bool(_FILE_NAME.fullmatch(text))


def shown(path: bytes) -> str:
    """Return a path in characters that any terminal can show; only its end if it is long."""
    text = ascii(path.decode("utf-8", errors="surrogateescape"))[1:-1]
    if len(text) > MAX_SHOWN_CHARACTERS:
        return f"...{text[3 - MAX_SHOWN_CHARACTERS :]}"
    return text
