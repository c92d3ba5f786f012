"""Commands with places for their input: from the text of a setting, or the words of a shell.

In the text of `run.command`, quotes make braces literal, as they do to everything else there. What
a shell hands over has lost its quotes: there, each placeholder is meant, as in GNU parallel.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from parallelize.console import escape
from parallelize.runs.shell_words import QUOTED
from parallelize_core.errors import UsageError
from parallelize_core.template import PLACEHOLDER, literal

_UNKNOWN = re.compile(r"\{(?:[./#%:]+|-?\d+[./]*|=.*?=)\}")
"""What GNU parallel has besides: numbers of jobs, slots and arguments, and code in Perl."""

_BEGIN, _END = "\ue000", "\ue001"
"""Around the kind of a placeholder while the text is split; of Unicode's private use."""


def split_template(text: str) -> tuple[str, ...] | None:
    """Return the words of a command with places for its input; None if it has none.

    Raises UsageError for a placeholder of GNU parallel that has no meaning here.
    """
    marked = "".join(
        part if quoted else PLACEHOLDER.sub(rf"{_BEGIN}\g<kind>{_END}", part)
        for part, quoted in _parts(text)
    )
    _check_known("".join("_" if quoted else part for part, quoted in _parts(marked)), text)
    if _BEGIN not in marked:
        return None
    words = map(literal, shlex.split(marked))
    return tuple(word.replace(_BEGIN, "{").replace(_END, "}") for word in words)


def as_text(words: Iterable[str]) -> str:
    """Return words of a shell as the text of `run.command`, with all placeholders in their places.

    One word with blanks in it is a whole command already.
    """
    listed = list(words)
    if len(listed) == 1 and " " in listed[0]:
        return listed[0]
    return " ".join(_quoted(word) for word in listed)


def _quoted(word: str) -> str:
    """Quote a word, but for its placeholders, also those that are unknown."""
    known = rf"({PLACEHOLDER.pattern.replace('?P<kind>', '?:')}|{_UNKNOWN.pattern})"
    pieces = re.split(known, word)
    quoted = [piece if number % 2 else piece and shlex.quote(piece)
              for number, piece in enumerate(pieces)]  # fmt: skip
    return "".join(quoted) or "''"


def _parts(text: str) -> Iterable[tuple[str, bool]]:
    """Yield the parts of a text, and whether they are in quotes."""
    end = 0
    for found in QUOTED.finditer(text):
        yield text[end : found.start()], False
        yield found[0], True
        end = found.end()
    yield text[end:], False


def _check_known(bare: str, text: str) -> None:
    if unknown := _UNKNOWN.search(bare):
        raise UsageError(
            f"the command has {escape(unknown[0])}, which nothing takes the place of",
            escape(text.strip()),
            "{} is the input's path, {.} the same without its ending, {/} its name,\n"
            "{/.} its name without its ending, {//} its folder",
        )
