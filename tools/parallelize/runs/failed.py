"""What the failed files of a run have in common, and how one failure is shown."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from parallelize.console import WIDTH, escape, shown
from parallelize_core.result import Attempt, Cause, Result

GROUPS_SHOWN = 10

LONGEST_TO_PASTE = 36
"""Characters of a name that a command may have and still fit in a line with its options."""


@dataclass(frozen=True)
class Group:
    """Failures that look alike: how they ended, and the last thing that was said."""

    label: str
    words: str
    keys: tuple[str, ...]


def as_json(result: Result) -> dict[str, Any]:
    """Return what `failures --json` prints of one failure."""
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
    """Put failures that look alike together, the largest group first."""
    found: dict[tuple[str, str], list[str]] = {}
    for result in results:
        found.setdefault((label(result), last_words(result)), []).append(result.key)
    groups = [Group(how, words, tuple(keys)) for (how, words), keys in found.items()]
    return sorted(groups, key=lambda item: (-len(item.keys), item.label, item.words))


def label(attempt: Attempt) -> str:
    """Say in a word or two how an attempt ended."""
    if attempt.cause is None:
        return "done"
    if attempt.cause is not Cause.COMMAND or attempt.exit_code is None:
        return attempt.cause.value
    return f"exit {attempt.exit_code}" if attempt.exit_code >= 0 else f"signal {-attempt.exit_code}"


def last_words(attempt: Attempt) -> str:
    """Return the last line of stderr, in quotes, for a command's own failure; else our message."""
    lines = [line for line in attempt.stderr_tail.splitlines() if line.strip()]
    if attempt.cause is Cause.COMMAND and lines:
        return f'"{escape(lines[-1].strip())}"'
    return escape(attempt.message.partition("\n")[0])


def summary(results: Sequence[Result]) -> list[str]:
    """Return a line for each group, with its first file."""
    lines = []
    groups = group(results)
    for item in groups[:GROUPS_SHOWN]:
        more = f" and {len(item.keys) - 1:,} more" if len(item.keys) > 1 else ""
        head = f"  {len(item.keys):>5,}  {item.label:<9}  {shown(item.words, 32):<32}  "
        lines.append(head + shown(item.keys[0], max(8, WIDTH - len(head) - len(more))) + more)
    if len(groups) > GROUPS_SHOWN:
        rest = sum(len(item.keys) for item in groups[GROUPS_SHOWN:])
        lines.append(f"  {rest:>5,}  others    all of them: parallelize failures")
    return lines


def see_one(key: str, hint: str) -> str:
    """Return the command that shows the attempts at a file, to be pasted into a shell.

    It names no file whose name is too long for a line, or cannot be typed.
    """
    name = shlex.quote(key) if len(key) <= LONGEST_TO_PASTE and key == escape(key) else "FILE"
    # After `--` nothing is taken for an option.
    return (
        f"parallelize logs{hint} -- {name}" if key[0] == "-" else f"parallelize logs {name}{hint}"
    )
