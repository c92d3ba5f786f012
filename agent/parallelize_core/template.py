"""Placeholders in the words of a command, as users of GNU parallel write them.

    {}      the input's path             photos/a.tar.gz
    {.}     without its last suffix      photos/a.tar
    {/}     its name                     a.tar.gz
    {/.}    its name without that suffix a.tar
    {//}    its folder                   photos
    {{}}    {} itself

A job may have several files, or only values: then a word with one of these is repeated for each.
If the jobs are known beforehand, there are more placeholders (see `Grammar`):

    {2} {2.} {2/} {2/.} {2//}            the same for the second file or value
    {lr} {lr.} {lr/} {lr/.} {lr//}       the same for the variable or file in the column `lr`
    {#}                                  the number of the job in its run, from 1

A word stays one word, whatever the input's name: no shell reads it.
https://www.gnu.org/software/parallel/parallel.html
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

_KINDS = r"//|/\.|/|\.|"
_NUMBERS = r"#(?=\})|[1-9]\d{0,5}"


@dataclass(frozen=True)
class Given:
    """The values of a job's placeholders: its arguments in order, its columns, its number."""

    arguments: Sequence[str]
    columns: Mapping[str, str] = field(default_factory=dict)
    number: int | None = None


class Grammar(NamedTuple):
    """Which placeholders there are: those of the input alone, or `extended` ones of jobs, too."""

    columns: tuple[str, ...] = ()
    extended: bool = False

    @property
    def placeholder(self) -> re.Pattern[str]:
        """What a placeholder looks like: `who` it is about, and its `kind`."""
        return _placeholder(self)

    def has_placeholders(self, words: Iterable[str]) -> bool:
        """Whether these words have a placeholder."""
        return any(True for word in words for _ in self._meant(word))

    def needs_number(self, words: Iterable[str]) -> bool:
        """Whether a word has the placeholder of the job's number."""
        return any(found["who"] == "#" for word in words for found in self._meant(word))

    def with_number(self, words: Iterable[str], number: int) -> tuple[str, ...]:
        """Return the words with the job's number filled in, and other placeholders unchanged."""

        def put(found: re.Match[str]) -> str:
            return str(number) if found["who"] == "#" else found[0]

        return tuple(_filled(self).sub(put, word) for word in words)

    def literal(self, text: str) -> str:
        """Return `text` escaped, so that filling in leaves it unchanged."""
        return self.placeholder.sub(r"{\g<0>}", text)

    def filled(self, words: Iterable[str], given: Given) -> tuple[str, ...]:
        """Return the words with a job's values filled in.

        Raises ValueError for a placeholder without a value.
        """
        return tuple(made for word in words for made in self._fill(word, given))

    def named_besides(
        self, words: Iterable[str], given: Given, inputs: Sequence[str]
    ) -> Iterator[str]:
        """Yield the paths that the words may name as outputs made from the inputs at these paths.

        These are words with a placeholder, and what follows a `=` in them; not an input itself, and
        no folder that one lies in.
        """
        inputs = [f"{path}/" for path in inputs]
        for word in words:
            if self.has_placeholders([word]):
                for whole in self._fill(word, given):
                    for name in (whole, whole.partition("=")[2]):
                        own = name and not any(i.startswith(f"{name.rstrip('/')}/") for i in inputs)
                        if own:
                            yield name

    def _meant(self, word: str) -> Iterator[re.Match[str]]:
        found = _filled(self).finditer(word)
        return (match for match in found if match["literal"] is None)

    def _fill(self, word: str, given: Given) -> Iterator[str]:
        # A word with the input appears once for each.
        each = any(not found["who"] for found in self._meant(word))
        for argument in given.arguments if each else ("",):
            yield _filled(self).sub(partial(_put, argument, given), word)


PLAIN = Grammar()
"""The placeholders that every agent knows."""


def _put(argument: str, given: Given, found: re.Match[str]) -> str:
    if found["literal"] is not None:
        return found["literal"]
    return _PARTS[found["kind"]](_value(found["who"], argument, given))


def _value(who: str, argument: str, given: Given) -> str:
    if not who:
        return argument
    if who == "#":
        if given.number is None:
            raise ValueError("the job has no number for {#}")
        return str(given.number)
    if who in given.columns:
        return given.columns[who]
    if who.isdigit() and int(who) <= len(given.arguments):
        return given.arguments[int(who) - 1]
    raise ValueError(f"the job has nothing for {{{who}}}")


@cache
def _placeholder(grammar: Grammar) -> re.Pattern[str]:
    return re.compile(rf"\{{(?P<who>{_who(grammar)})(?P<kind>{_KINDS})\}}")


@cache
def _filled(grammar: Grammar) -> re.Pattern[str]:
    inner = rf"\{{(?:{_who(grammar)})(?:{_KINDS})\}}"
    return re.compile(rf"\{{(?P<literal>{inner})\}}|{_placeholder(grammar).pattern}")


def _who(grammar: Grammar) -> str:
    if not grammar.extended:
        return ""
    columns = sorted(grammar.columns, key=len, reverse=True)
    return "|".join([_NUMBERS, *map(re.escape, columns), ""])


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


_PARTS: dict[str, Callable[[str], str]] = {
    "": str,
    ".": _stem,
    "/": posixpath.basename,
    "/.": lambda path: _stem(posixpath.basename(path)),
    "//": posixpath.dirname,
}
