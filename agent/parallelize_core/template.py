"""Placeholders for the input in the words of a command, as users of GNU parallel write them.

    {}      the input's path             photos/a.tar.gz
    {.}     the same, one ending less    photos/a.tar
    {/}     its name                     a.tar.gz
    {/.}    its name, one ending less    a.tar
    {//}    its folder                   photos

A word stays one word, whatever the input is called: there is no shell in between.
https://www.gnu.org/software/parallel/parallel.html
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator

_PLACEHOLDER = re.compile(r"\{(\.|/|/\.|//)?\}")

_UNKNOWN = re.compile(r"\{(?:[./#%:]+|-?\d+[./]*|=.*?=)\}")
"""What GNU parallel has besides: numbers of jobs, slots and arguments, and code in Perl."""


def has_placeholders(words: Iterable[str]) -> bool:
    """Whether the input has its place in these words already."""
    return any(_PLACEHOLDER.search(word) for word in words)


def unknown_placeholder(words: Iterable[str]) -> str | None:
    """Return the first placeholder of GNU parallel that has no meaning here, or None."""
    for word in words:
        if found := _UNKNOWN.search(_PLACEHOLDER.sub("", word)):
            return found[0]
    return None


def filled(words: Iterable[str], path: str) -> tuple[str, ...]:
    """Return the words with the input's path, and parts of it, in the places for them."""
    return tuple(_fill(word, path) for word in words)


def named_besides(words: Iterable[str], path: str) -> Iterator[str]:
    """Yield what the words could mean as files that are made from the input at `path`.

    These are words with a placeholder, and what follows a `=` in them; not the input itself, and
    no folder that it lies in.
    """
    for word in words:
        if _PLACEHOLDER.search(word):
            whole = _fill(word, path)
            for name in (whole, whole.partition("=")[2]):
                if name and not f"{path}/".startswith(f"{name.rstrip('/')}/"):
                    yield name


def _fill(word: str, path: str) -> str:
    return _PLACEHOLDER.sub(lambda found: _PARTS[found[1] or ""](path), word)


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


_PARTS: dict[str, Callable[[str], str]] = {
    "": str,
    ".": _stem,
    "/": posixpath.basename,
    "/.": lambda path: _stem(posixpath.basename(path)),
    "//": posixpath.dirname,
}
