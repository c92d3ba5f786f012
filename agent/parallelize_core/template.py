"""Placeholders for the input in the words of a command, as users of GNU parallel write them.

    {}      the input's path             photos/a.tar.gz
    {.}     the same, one ending less    photos/a.tar
    {/}     its name                     a.tar.gz
    {/.}    its name, one ending less    a.tar
    {//}    its folder                   photos
    {{}}    {} itself

A word stays one word, whatever the input is called: there is no shell in between.
https://www.gnu.org/software/parallel/parallel.html
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator

_KINDS = r"\.|/|/\.|//|"
PLACEHOLDER = re.compile(rf"\{{(?P<kind>{_KINDS})\}}")
_FILLED = re.compile(rf"\{{(?P<literal>\{{(?:{_KINDS})\}})\}}|{PLACEHOLDER.pattern}")


def has_placeholders(words: Iterable[str]) -> bool:
    """Whether the input has its place in these words already."""
    return any(found["literal"] is None for word in words for found in _FILLED.finditer(word))


def literal(text: str) -> str:
    """Return what stands for `text` itself in a word that is filled in."""
    return PLACEHOLDER.sub(r"{\g<0>}", text)


def filled(words: Iterable[str], path: str) -> tuple[str, ...]:
    """Return the words with the input's path, and parts of it, in the places for them."""
    return tuple(_fill(word, path) for word in words)


def named_besides(words: Iterable[str], path: str) -> Iterator[str]:
    """Yield what the words could mean as files that are made from the input at `path`.

    These are words with a placeholder, and what follows a `=` in them; not the input itself, and
    no folder that it lies in.
    """
    for word in words:
        if has_placeholders([word]):
            whole = _fill(word, path)
            for name in (whole, whole.partition("=")[2]):
                if name and not f"{path}/".startswith(f"{name.rstrip('/')}/"):
                    yield name


def _fill(word: str, path: str) -> str:
    return _FILLED.sub(lambda found: found["literal"] or _PARTS[found["kind"]](path), word)


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


_PARTS: dict[str, Callable[[str], str]] = {
    "": str,
    ".": _stem,
    "/": posixpath.basename,
    "/.": lambda path: _stem(posixpath.basename(path)),
    "//": posixpath.dirname,
}
