"""Commands with places for their input: from the text of a setting, or the words of a shell.

In the text of `run.command`, quotes make braces literal, like everything else inside them. A shell
passes words on without their quotes, so there every placeholder counts, as in GNU parallel.

A command is started without a shell, so anything that only a shell understands is reported
beforehand. With `run.shell = true` a shell reads the command, and the input's path is "$1" in it.
It stops at the first error, even within a pipe: half an output must not look like a whole one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from parallelize.console import escape
from parallelize_core.errors import UsageError
from parallelize_core.template import PLAIN, Grammar

SHELL = ("bash", "-e", "-o", "pipefail", "-c")

QUOTED = re.compile(r"'[^']*'|\\.|\"((?:\\.|[^\"\\])*)\"", re.DOTALL)
_EXPANSION = r"\$\(|\$\{|\$[\w@*#?!-]|`"
_IN_DOUBLE_QUOTES = re.compile(rf"\\.|({_EXPANSION})", re.DOTALL)
_BARE = re.compile(
    rf"{_EXPANSION}|\|\|?|&&|\d?>>?(?:&\d)?|<<?<?|&|;|[()*\n]|(?<!\S)~(?=[/\s]|$)|(?<=\s)#"
    r"|\{[^{}\s]*(?:,|\.\.)[^{}\s]*\}"
)
_ASSIGNMENT = re.compile(r"\s*([A-Za-z_]\w*=)")
_BUILTINS = (
    "cd", "pushd", "export", "unset", "declare", "alias", "source", ".", "eval", "exec", "set",
    "ulimit", "umask", "trap", "read", "exit", "if", "for", "while", "until", "case", "function",
    "[[", "{", "!",
)  # fmt: skip
"""First words that are not programs."""

_HANDS_ON = set(";&|(")
"""How an operator ends that is followed by a program's name."""

_OPERATORS = set("();<>|&")
"""What shlex takes for operators."""

_INPUT = re.compile(r"\$(?:1\b|\{1\b|[@*]|\{[@*]|\{?PARALLELIZE_INPUT\b)")


def check_plain(text: str) -> None:
    """Raise UsageError if a command has something that only a shell understands."""
    word = shell_word(text)
    if word is None:
        return
    shown = escape(word)
    raise UsageError(
        f'the command has "{shown}", which only a shell understands',
        f"{escape(text.strip())}\nworkers start the program itself, and would hand it"
        f' "{shown}" as it stands',
        'write that line into a script of the environment, in which the input is "$1",\n'
        'or set run.shell = true and write "$1" where the input belongs;\n'
        f"if it is meant literally, put it into quotes: '{shown}'",
    )


def shell_word(text: str) -> str | None:
    """Return the first part of a command that is meant for a shell, or None."""
    if found := _ASSIGNMENT.match(text):
        return found[1]
    first = text.split(maxsplit=1)[:1]
    if first and first[0] in _BUILTINS:
        return first[0]
    for quoted in QUOTED.finditer(text):
        for inside in _IN_DOUBLE_QUOTES.finditer(quoted[1] or ""):
            if inside[1]:
                return inside[1]
    # Keep a placeholder for quoted text, or two words could become one.
    found = _BARE.search(QUOTED.sub("_", text.strip()))
    return found[0] if found else None


def shell_command(text: str) -> tuple[str, ...]:
    """Return the words that make a shell read the command, with the input as its "$1".

    Raises UsageError if the command never uses the input.
    """
    if not _INPUT.search(text):
        raise UsageError(
            "the command does not say where the input belongs",
            f"{escape(text.strip())}\nwith run.shell the input's path is not added at the end",
            'write "$1" where it belongs, as in: tr a-z A-Z < "$1" > upper.txt && echo upper.txt',
        )
    return (*SHELL, text, SHELL[0])


def program_of(text: str) -> str | None:
    """Return the program of the environment that a shell command starts with, if it does."""
    found = re.match(r"\s*(\./[\w./+-]+)", text)
    return found[1] if found else None


_UNKNOWN = re.compile(r"\{(?:[./#%:]+|-?\d+[./]*|=.*?=)\}")
"""What GNU parallel has besides: slots, arguments from the end, and Perl code."""

_COLUMN = re.compile(r"\{([^\W\d][\w-]*)(?://|/\.|/|\.|)\}")
"""What looks like a placeholder for a column."""

_ANY = re.compile(
    "|".join(
        re.sub(r"\?P<\w+>", "?:", pattern.pattern)
        for pattern in (Grammar(extended=True).placeholder, _UNKNOWN, _COLUMN)
    )
)

_BEGIN, _END = "\ue000", "\ue001"
"""Around the kind of a placeholder while the text is split; from Unicode's private use area."""


class Template(NamedTuple):
    """A command with places for its job, and the placeholders that it may have."""

    words: tuple[str, ...]
    grammar: Grammar = PLAIN


def split_template(text: str, columns: Sequence[str] = ()) -> Template | None:
    """Return the words of a command with places for its job; None if it has none.

    The places are for the input, an argument, the job's number, and `columns`. Raises UsageError
    for a placeholder that has no meaning here.
    """
    grammar = Grammar(tuple(columns), extended=True)
    places: list[str] = []

    def mark(found: re.Match[str]) -> str:
        places.append(found[0])
        return f"{_BEGIN}{len(places) - 1}{_END}"

    marked = "".join(
        part if quoted else grammar.placeholder.sub(mark, part) for part, quoted in _parts(text)
    )
    bare = "".join("_" if quoted else part for part, quoted in _parts(marked))
    _check_known(bare, text, columns)
    if not places:
        return None
    if not columns and all(PLAIN.has_placeholders([place]) for place in places):
        grammar = PLAIN  # which every agent knows
    words = (_unmarked(grammar.literal(word), places) for word in shlex.split(marked))
    return Template(tuple(words), grammar)


def _unmarked(word: str, places: Sequence[str]) -> str:
    return re.sub(f"{_BEGIN}(\\d+){_END}", lambda found: places[int(found[1])], word)


def named_columns(text: str) -> tuple[str, ...]:
    """Return the columns for which a command seems to have places."""
    bare = "".join("_" if quoted else part for part, quoted in _parts(text))
    return tuple(dict.fromkeys(_COLUMN.findall(bare)))


def as_text(words: Iterable[str]) -> str:
    """Return words from a shell as the text of `run.command`, with all their placeholders.

    A single word with blanks in it is a whole command already.
    """
    listed = list(words)
    if len(listed) == 1 and " " in listed[0]:
        return listed[0]
    return " ".join(_quoted(word) for word in listed)


def _quoted(word: str) -> str:
    """Quote a word except for its placeholders, including unknown ones."""
    made, end = "", 0
    for found in _ANY.finditer(word):
        text = word[end : found.start()]
        made += (text and shlex.quote(text)) + found[0]
        end = found.end()
    rest = word[end:]
    return made + (rest and shlex.quote(rest)) or "''"


def _parts(text: str) -> Iterable[tuple[str, bool]]:
    """Yield the parts of a text, and whether each is in quotes."""
    end = 0
    for found in QUOTED.finditer(text):
        yield text[end : found.start()], False
        yield found[0], True
        end = found.end()
    yield text[end:], False


def _check_known(bare: str, text: str, columns: Sequence[str]) -> None:
    if columns and (other := _COLUMN.search(bare)):
        raise UsageError(
            f"the command has {escape(other[0])}, but the jobs have no such column",
            escape(text.strip()),
            f"the columns are {', '.join(escape(f'{{{name}}}') for name in columns)}",
        )
    if unknown := _UNKNOWN.search(bare):
        raise UsageError(
            f"the command has {escape(unknown[0])}, which is not a known placeholder",
            escape(text.strip()),
            "{} is the input's path, {.} the same without its ending, {/} its name,\n"
            "{/.} its name without its ending, {//} its folder; {2} is the second input's,\n"
            "{#} the number of the job, {NAME} what is in a column of that name",
        )


def words_of(text: str, *, shell: bool = False) -> list[str]:
    """Return the words of a command that may name files: no placeholders, options or programs.

    A program without a slash comes from the PATH. In a `shell` line, neither operators nor the
    files that it writes to count.
    """
    found = shlex.shlex(text, posix=True, punctuation_chars=shell)
    found.whitespace_split, found.commenters = True, ""
    words, before = [], ";"
    with suppress(ValueError):  # a quote that is not closed: the command is refused elsewhere
        for word in found:
            is_program = before[-1] in _HANDS_ON and "/" not in word
            if not (is_program or ">" in before or set("{}") & set(word) or word[:1] == "-"):
                words.append(word)
            is_operator = shell and word and set(word) <= _OPERATORS
            before = word if is_operator else " "
    return words
