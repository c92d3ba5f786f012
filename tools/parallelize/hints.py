"""Adds the flags that the user gave to the commands that messages propose.

Code that puts `parallelize retry` into an error need not know that it came from a command with
`--run scans --local`; without those flags it would mean another run, or another cloud. A hint is
those flags as `Common.again` writes them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

BARE = ("--local",)
IN_AWS = ("--region", "--profile")
"""Flags that do not go together with --local."""

OF_A_RUN = ("--run", "--local")
"""Flags without a meaning for AWS commands about all runs."""

FOR_ALL_RUNS = ("setup", "image build", "image list", "image prune")

PROPOSED = re.compile(
    r"\bparallelize (run|prep|enqueue|estimate|download|runs|status|failures|logs|explain|report"
    r"|dashboard|retry|repro|launch|scale|stop|kill|clean|doctor|setup|image build|image list"
    r"|image prune|config show)\b"
)
"""The commands that take the common flags, in a sentence."""

_END = re.compile(r"[,;\n)]|   |$")
"""Where a proposed command ends and prose continues."""


def repeat_flags(text: str, hint: str) -> str:
    """Return `text` with the flags of `hint` in each command it proposes."""
    flags = flags_in(hint)
    return PROPOSED.sub(lambda found: _with(found, text, flags), text) if flags else text


def flags_in(hint: str) -> dict[str, str]:
    """Return the flags of a hint, each with its value; bare ones have none."""
    return dict(_flags(hint))


def _flags(hint: str) -> Iterator[tuple[str, str]]:
    words = iter(shlex.split(hint))
    for name in words:
        yield name, "" if name in BARE else next(words)


def _with(found: re.Match[str], text: str, flags: Mapping[str, str]) -> str:
    ending = _END.search(text, found.end())
    there = text[found.end() : ending.start() if ending else None].split()
    if "--help" in there:
        return found.group()
    without = {*there, *(IN_AWS if "--local" in there else ())}
    without |= {*OF_A_RUN} if found.group(1) in FOR_ALL_RUNS else set()
    missing = (
        f"{name} {shlex.quote(value)}" if value else name
        for name, value in flags.items()
        if name not in without
    )
    return " ".join([found.group(), *missing])
