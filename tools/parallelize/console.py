"""What is printed, and where: answers on stdout, everything else on stderr.

Names come from folders, buckets and queues that others fill. `escape` makes each of them one
harmless line; use it wherever a message is put together.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TextIO

from parallelize_core.errors import ParallelizeError, UsageError

WIDTH = 80
UNLIMITED = 100_000
"""The width of anything but a terminal."""

PLANNED = 20
"""How many similar steps a plan names; nobody reads a million lines."""

LONGEST_TO_PASTE = 36
"""Characters of a name that fit into a line of a command with its options."""

OWN_NAME = "FILE"
"""Stands for a file's name in a command that is shown."""

DRY_RUN = "(dry run)"


_ODD = re.compile("[^ -~]")


def columns() -> int:
    """Return the width of stdout; a file or a pipe takes lines of any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED


def escape(name: str) -> str:
    """Return `name` with everything that could control a terminal, or break a line, escaped."""
    return _spelled_out(name, lambda one: one.encode("unicode_escape").decode("ascii"))


def printable(text: str) -> str:
    """Return lines that are safe on a terminal: tabs are the only control characters left."""
    lines = text.split("\n")
    return "\n".join("\t".join(map(escape, line.split("\t"))) for line in lines)


def _spelled_out(text: str, spell: Callable[[str], str]) -> str:
    return _ODD.sub(lambda found: spell(found[0]) if _steers(found[0]) else found[0], text)


def _steers(character: str) -> bool:
    # Cc: control, Cf: invisible (such as right-to-left override), Cs: undecodable, Zl, Zp: breaks.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def shown(name: str, width: int = 56) -> str:
    """Return `name` escaped, without its middle if it is longer than `width`."""
    whole = escape(name)
    if len(whole) <= width:
        return whole
    tail = (width - 1) // 2
    return f"{whole[: width - 1 - tail]}…{whole[-tail:]}"


def quoted(key: str) -> str:
    """Return a file's name to paste into a shell; FILE if that is impossible, or it is too long."""
    return shlex.quote(key) if len(key) <= LONGEST_TO_PASTE and key == escape(key) else OWN_NAME


def some(names: list[str], limit: int = 5) -> str:
    """Return one line for each of the first names, and how many more there are."""
    lines = [shown(name, WIDTH - 4) for name in names[:limit]]
    if len(names) > limit:
        lines.append(f"and {len(names) - limit:,} more")
    return "\n".join(lines)


def fit(text: str, indent: str = "", width: int = WIDTH) -> str:
    """Return `text` wrapped at `width` columns; only a longer word goes beyond."""
    lines = [_fit_line(indent + escape(line), width) for line in text.split("\n")]
    return "\n".join(lines)


def _fit_line(whole: str, width: int) -> str:
    if len(whole) <= width:
        return whole
    left = len(whole) - len(whole.lstrip())
    return textwrap.fill(
        whole.strip(), width, initial_indent=" " * left, subsequent_indent=" " * (left + 2),
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def is_live() -> bool:
    """Whether stderr is a terminal that can update what it shows."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


def say(text: str) -> None:
    """Print a message on stderr."""
    print(fit(text), file=sys.stderr, flush=True)  # noqa: T201


def say_plan(text: str) -> None:
    """Print what would be done, on stderr; each line says that it is a dry run."""
    for line in fit(text, width=WIDTH - len(DRY_RUN) - 1).split("\n"):
        print(f"{DRY_RUN} {line}", file=sys.stderr, flush=True)  # noqa: T201


def show_plan(lines: Iterable[str], *, json: bool = False) -> None:
    """Print what would be done; with `json`, also as one JSON document on stdout."""
    told = []
    for line in lines:
        say_plan(line)
        told.append(line)
    if json:
        answer_json({"schema": 1, "dry_run": True, "plan": told})


def few(lines: Iterable[str]) -> list[str]:
    """Return the first of many similar lines, and how many more there are."""
    rest = iter(lines)
    first = [*islice(rest, PLANNED)]
    left = sum(1 for _ in rest)
    return [*first, f"… and {left:,} more"] if left else first


def ask(question: str, before: str = "") -> str | None:
    """Ask the user, and return the answer; without a terminal, print nothing and return None."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    if before:
        say(before)
    print(f"{question} ", end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().strip().lower()


def confirm(question: str, *, yes: bool) -> None:
    """Ask, if there is a terminal; raise UsageError unless the answer is yes."""
    if yes:
        return
    reply = ask(f"{question} [y/N]")
    if reply is None:
        raise UsageError("cannot ask for confirmation", "stdin is not a terminal", "--yes")
    if reply not in {"y", "yes"}:
        raise UsageError("the answer was not yes, so nothing was done")


def answer(text: str) -> None:
    """Print the answer, on stdout; nothing else may go there. It is not wrapped."""
    print(printable(text), flush=True)  # noqa: T201


def answer_json(value: Any) -> None:
    """Print the answer as one JSON document, on stdout.

    What a terminal or the stream's encoding cannot take is escaped as JSON does it.
    """
    text = json.dumps(value, ensure_ascii=not _takes_unicode(sys.stdout))
    print(_spelled_out(text, lambda one: json.dumps(one)[1:-1]), flush=True)  # noqa: T201


def conclude(
    lines: Iterable[str], names: Iterable[str], document: Callable[[], Any], *, json: bool
) -> None:
    """Print how it went; then answer with the document, or with the names, one a line."""
    for line in lines:
        say(line)
    if json:
        answer_json(document())
        return
    for name in names:
        answer(name)


def _takes_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def show_error(error: ParallelizeError) -> None:
    """Print what happened, why, and what to do next."""
    say(f"error: {error.what}")
    if error.why:
        print(fit(error.why, "  "), file=sys.stderr)  # noqa: T201
    if error.fix:
        print(fit(_aligned_fix(error.fix), "  "), file=sys.stderr)  # noqa: T201


def _aligned_fix(fix: str) -> str:
    first, *rest = fix.split("\n")
    return "\n".join([f"fix: {first}", *(line.strip() for line in rest)])
