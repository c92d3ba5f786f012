"""What a run's failed files have in common, and how to show one failure."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from parallelize.console import OWN_NAME, WIDTH, escape, quoted, shown
from parallelize_core.result import Attempt, Cause, Result

GROUPS_SHOWN = 10
NAMES_SHOWN = 10

COMPARED = 1000
"""Failures are compared by this many characters of their last words."""

_NUMBER = re.compile(r"\b(?:0x[0-9a-fA-F]+|\d+(?:[.,:]\d+)*)\b")
"""What varies between failures that are otherwise equal: lines, times, addresses, sizes."""

_MARK = "\0"
"""Stands for a name while it is looked for; last words have none, as it is escaped in them."""

_MARKED = re.compile(rf"(?<!\w)(?:[^\s'\"(]*/)?{_MARK}(?!\w)")
"""A name with the folders before it, as each job has another scratch folder."""

SHORTEST_NAME = 3
"""Characters. A shorter name can be part of a sentence by chance."""


class Group(NamedTuple):
    """Failures that look alike: how they ended, and the last line that they printed.

    In `words`, FILE stands for the input's name if each failure named its own, and N for numbers
    that differ.
    """

    label: str
    words: str
    keys: tuple[str, ...]


def as_json(result: Result) -> dict[str, Any]:
    """Return one failure as `failures --json` prints it."""
    return {
        "key": result.key,
        "cause": result.cause.value if result.cause else None,
        "exit_code": result.exit_code,
        "attempts": result.attempt,
        "worker": result.worker,
        "stderr_tail": result.stderr_tail,
        "message": result.message,
    }


def group(results: Iterable[Result]) -> list[Group]:
    """Group failures that look alike, the largest group first."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        words = _NUMBER.sub("N", _without_name(result))
        found.setdefault((label(result), words), []).append(result)
    groups = [_grouped(how, words, alike) for (how, words), alike in found.items()]
    return sorted(groups, key=lambda item: (-len(item.keys), item.label, item.words))


def _grouped(how: str, words: str, alike: Sequence[Result]) -> Group:
    # Replace only as much as makes them equal.
    for told in (last_words, _without_name):
        if len(said := {told(result) for result in alike}) == 1:
            words = said.pop()
            break
    return Group(how, words, tuple(result.key for result in alike))


def _without_name(result: Result) -> str:
    """Return the last words with FILE for the input, whose name makes each failure look unique."""
    words, path = last_words(result)[:COMPARED], PurePosixPath(escape(result.key))
    for name in (str(path), path.name, path.stem):
        if len(name) >= SHORTEST_NAME:
            marked = _MARKED.sub(OWN_NAME, words.replace(name, _MARK))
            words = marked.replace(_MARK, name)
    # The agent puts the names of outputs in quotes.
    return re.sub(r'"[^"]+"', '"..."', words) if result.cause is Cause.OUTPUT else words


def label(attempt: Attempt) -> str:
    """Say in a word or two how an attempt ended."""
    if attempt.cause is None:
        return "done"
    if attempt.cause is not Cause.COMMAND or attempt.exit_code is None:
        return attempt.cause.value
    return f"exit {attempt.exit_code}" if attempt.exit_code >= 0 else f"signal {-attempt.exit_code}"


def last_words(attempt: Attempt) -> str:
    """Return the last line of stderr, in quotes, if the command failed; otherwise our message."""
    lines = [line for line in attempt.stderr_tail.splitlines() if line.strip()]
    if attempt.cause is Cause.COMMAND and lines:
        return f'"{escape(lines[-1].strip())}"'
    said = escape(attempt.message.partition("\n")[0])
    return said if said != label(attempt) else _silent_end(attempt)


def _silent_end(attempt: Attempt) -> str:
    """Say more about a command that printed nothing than how it ended."""
    code = attempt.exit_code or 0
    known = signal.strsignal(-code) if -signal.NSIG < code < 0 else None
    return f"{known}; nothing on stderr" if known else "nothing on stderr"


def summary(results: Sequence[Result]) -> list[str]:
    """Return two lines for each group: its last words in full, and its first file."""
    lines = []
    groups = group(results)
    for item in groups[:GROUPS_SHOWN]:
        more = f" and {len(item.keys) - 1:,} more" if len(item.keys) > 1 else ""
        lines.append(f"  {len(item.keys):>5,}  {item.label:<9}  {item.words}")
        lines.append(f"{' ' * 20}{shown(item.keys[0], max(8, WIDTH - 20 - len(more)))}{more}")
    if len(groups) > GROUPS_SHOWN:
        rest = sum(len(item.keys) for item in groups[GROUPS_SHOWN:])
        lines.append(f"  {rest:>5,}  others    all of them: parallelize failures")
    return lines


def see_one(key: str, hint: str) -> str:
    """Return the command that shows the attempts at a file, to paste into a shell.

    It leaves out a name that is too long for a line, or that cannot be typed.
    """
    name = quoted(key)
    # After `--`, nothing is an option.
    return (
        f"parallelize logs{hint} -- {name}" if key[0] == "-" else f"parallelize logs {name}{hint}"
    )


def listing(results: Sequence[Result], width: int = WIDTH) -> list[str]:
    """Return each group with the names of its files, in lines of at most `width` columns."""
    lines = []
    for item in group(results):
        lines.append(f"{len(item.keys):,}  {item.label}  {shown(item.words, width - 20)}")
        lines += [f"   {shown(key, width - 3)}" for key in item.keys[:NAMES_SHOWN]]
        if len(item.keys) > NAMES_SHOWN:
            lines.append(f"   and {len(item.keys) - NAMES_SHOWN:,} more (all: --json)")
    return lines


def next_steps(results: Sequence[Result], hint: str) -> list[str]:
    """Return how to look at one failure, and how to retry; `hint` ends each command."""
    return [
        f"see one:   {see_one(results[0].key, hint)}",
        f"again:     parallelize retry{hint}, then parallelize launch{hint}",
    ]
