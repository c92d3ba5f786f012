"""Programs of this machine that a command names by their whole paths, as `/data/job.py`.

Workers of the local cloud find them there. They are in no environment, and what the command makes
depends on them all the same. What belongs to the system is left out: an update of a shell makes
nobody's outputs out of date. So are other files, as a command may write to those.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from parallelize.context import Context
from parallelize.runs.known_contents import known_contents

_SYSTEM = ("/bin/", "/dev/", "/etc/", "/lib", "/opt/", "/proc/", "/sbin/", "/sys/", "/usr/")

_SCRIPTS = {".R", ".jl", ".js", ".lua", ".m", ".pl", ".py", ".r", ".rb", ".sh"}
"""What is handed to an interpreter need not be executable."""

_PATH = re.compile(r"(?<![^\s'\"=<>|;&(:,])/[^\s'\"<>|;&()`$\\]+")
"""Within a line for a shell, or in a word such as --by=/data/score.py."""


def programs_beside(context: Context) -> dict[str, str]:
    """Return the programs that workers find where the command names them; see `named_programs`."""
    run = context.settings.run
    there = context.has_own_programs and not run.image
    return named_programs([run.command or "", run.setup or ""]) if there else {}


def named_programs(commands: Iterable[str]) -> dict[str, str]:
    """Return the mode, in octal, and the SHA-256 of each program that commands name, by its path.

    What cannot be read is left out: the command will tell.
    """
    paths = sorted({Path(name) for text in commands for name in _names(text)})
    found: dict[str, str] = {}
    if not paths:
        return found
    with known_contents() as known:
        for path in paths:
            with suppress(OSError, ValueError):
                mode = path.stat().st_mode
                if stat.S_ISREG(mode) and (mode & 0o111 or path.suffix in _SCRIPTS):
                    found[str(path)] = f"{mode:o} {known.read(path).sha256}"
    return found


def _names(text: str) -> Iterator[str]:
    with suppress(ValueError):  # a quote that is not closed means something to a shell
        words = (word for word in shlex.split(text) if word.startswith("/"))
        names = [*words, *_PATH.findall(text)]
        yield from (name for name in names if not name.startswith(_SYSTEM))
