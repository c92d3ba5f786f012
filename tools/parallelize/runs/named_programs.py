"""Files of this machine that a command names.

A script beside the project, as `job.py` in `python3 job.py {}`, is what a command without a folder
for its environment needs. Data is not taken for it: what a command names may be what it writes.

Programs may have whole paths, as `/data/job.py`. Workers of the local cloud find them there. They
are in no environment, and what the command makes depends on them all the same. What belongs to the
system is left out: an update of a shell makes nobody's outputs out of date. So are other files.
"""

from __future__ import annotations

import posixpath
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

_STARTED = (b"#!", b"\x7fELF")
"""How a file begins that can be started. Its mode does not say so on every disk."""

_HANDS_ON = set(";&|(")
"""What ends an operator of a shell before the name of a program."""

_OPERATORS = set("();<>|&")
"""What shlex takes for operators."""

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


def words_of(text: str, *, shell: bool = False) -> list[str]:
    """Return the words of a command that may name files: no placeholders, options or programs.

    A program without a slash is looked for on the PATH. Of a `shell` line neither the operators are
    words, nor what is written to.
    """
    found = shlex.shlex(text, posix=True, punctuation_chars=shell)
    found.whitespace_split, found.commenters = True, ""
    words, before = [], ";"
    with suppress(ValueError):  # a quote that is not closed: the command is refused elsewhere
        for word in found:
            is_program = before[-1] in _HANDS_ON and "/" not in word
            if not (is_program or ">" in before or set("{}") & set(word) or word[:1] == "-"):
                words.append(word)
            before = word if shell and set(word) <= _OPERATORS else " "
    return words


def files_beside(folder: Path, words: Iterable[str]) -> list[str]:
    """Return which files in a folder words name, as they are called from there."""
    names = dict.fromkeys(posixpath.normpath(word) for word in words if word[:1] != "/")
    return [name for name in names if name[:3] != "../" and _is_file(folder / name)]


def scripts_beside(folder: Path, words: Iterable[str]) -> list[str]:
    """Return which of `files_beside` are scripts or programs, by their endings or first bytes."""
    return [name for name in files_beside(folder, words) if _is_program(folder / name)]


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a word may be a whole program, and so no name
        return path.is_file()
    return False


def _is_program(path: Path) -> bool:
    if path.suffix in _SCRIPTS:
        return True
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(_STARTED)
    except OSError:
        return False


def _names(text: str) -> Iterator[str]:
    with suppress(ValueError):  # a quote that is not closed means something to a shell
        words = (word for word in shlex.split(text) if word.startswith("/"))
        names = [*words, *_PATH.findall(text)]
        yield from (name for name in names if not name.startswith(_SYSTEM))
