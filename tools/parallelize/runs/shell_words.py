"""A command is started without a shell, so what only a shell understands is told beforehand.

With `run.shell = true` a shell reads the command, and the input's path is "$1" in it. It ends at
the first error, also at one within a pipe: half an output must not look like a whole one.
"""

from __future__ import annotations

import re

from parallelize.console import escape
from parallelize_core.errors import UsageError

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
"""First words that name no program."""
_INPUT = re.compile(r"\$(?:1\b|\{1\b|[@*]|\{[@*]|\{?PARALLELIZE_INPUT\b)")


def check_plain(text: str) -> None:
    """Raise UsageError if a command has something that means what it says only in a shell."""
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
    """Return the first thing in a command that is meant for a shell, or None."""
    if found := _ASSIGNMENT.match(text):
        return found[1]
    first = text.split(maxsplit=1)[:1]
    if first and first[0] in _BUILTINS:
        return first[0]
    for quoted in QUOTED.finditer(text):
        for inside in _IN_DOUBLE_QUOTES.finditer(quoted[1] or ""):
            if inside[1]:
                return inside[1]
    # Something stands for what was quoted, or two words could become one.
    found = _BARE.search(QUOTED.sub("_", text.strip()))
    return found[0] if found else None


def shell_command(text: str) -> tuple[str, ...]:
    """Return the words that have a shell read the command, with the input as its "$1".

    Raises UsageError if the command says nowhere what becomes of the input.
    """
    if not _INPUT.search(text):
        raise UsageError(
            "the command says nowhere what becomes of the input",
            f"{escape(text.strip())}\nwith run.shell the input's path is not added at the end",
            'write "$1" where it belongs, as in: tr a-z A-Z < "$1" > upper.txt && echo upper.txt',
        )
    return (*SHELL, text, SHELL[0])


def program_of(text: str) -> str | None:
    """Return the program of the environment that a shell's command begins with, if it does."""
    found = re.match(r"\s*(\./[\w./+-]+)", text)
    return found[1] if found else None
