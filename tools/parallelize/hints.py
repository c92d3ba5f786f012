"""Commands that are proposed to a person, with the flags that they gave: to be typed as they are.

Code that puts `parallelize retry` into an error need not know that it came from a command with
`--run scans --local`; without those it would mean another run, or another cloud.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

WITH_VALUE = ("--config", "--run", "--bucket", "--stack", "--region", "--profile")
BARE = ("--local",)
IN_AWS = ("--region", "--profile")
"""What does not go together with --local."""

OF_A_RUN = ("--run", "--local")
"""What means nothing to `setup`, which is for all runs, and for AWS."""

PROPOSED = re.compile(
    r"\bparallelize (?:run|prep|enqueue|estimate|download|status|failures|logs|report|retry"
    r"|launch|scale|stop|kill|clean|doctor|setup)\b"
)
_END = re.compile(r"[,;\n)]|   |$")
"""Where a proposed command ends and prose goes on."""


def repeat_flags(text: str, given: Sequence[str]) -> str:
    """Return `text` with the common flags among the words `given` in each command it proposes."""
    flags = [
        (name, f"{name} {shlex.quote(value)}" if value else name)
        for name, value in given_flags(given).items()
    ]
    return PROPOSED.sub(lambda found: _with(found, text, flags), text) if flags else text


def _with(found: re.Match[str], text: str, flags: Sequence[tuple[str, str]]) -> str:
    ending = _END.search(text, found.end())
    there = text[found.end() : ending.start() if ending else None].split()
    meant = IN_AWS if "--local" in there else ()
    meant = OF_A_RUN if found.group().endswith("setup") else meant
    if "--help" in there:
        return found.group()
    missing = (words for name, words in flags if name not in (*there, *meant))
    return " ".join([found.group(), *missing])


def given_flags(given: Sequence[str]) -> dict[str, str]:
    """Return the common flags in a command line, each with its value; bare ones have none."""
    return dict(_common(given))


def _common(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    words = iter(given)
    for word in words:
        name, sign, value = word.partition("=")
        if word == "--":
            return
        if name in BARE:
            yield name, ""
        elif name in WITH_VALUE and (value := value if sign else next(words, "")):
            yield name, value
