"""A whole run in one line, as users of GNU parallel write it: COMMAND ::: FILES.

    parallelize run --local -- convert {} -resize 50% {/.}.png ::: photos/*.jpg

It needs no configuration. Its run is named after the command, so the same line continues where it
stopped, and another command never gets this one's outputs.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from parallelize.console import escape
from parallelize.runs.environment.packing import scripts_beside
from parallelize.runs.environment.placeholders import (
    as_text,
    named_columns,
    split_template,
    words_of,
)
from parallelize_core.errors import UsageError
from parallelize_core.template import Given

_USAGE = "parallelize run -- COMMAND ::: FILE..."
_HOW = f"--help, or: {_USAGE}\nor with --inputs or --grid: parallelize run --grid lr=1,2 -- COMMAND"
BEFORE_FILES = ":::"
_NAME_CHARACTERS = 40
_WHATEVER_IT_LEAVES = {"output.collect": ["**"], "run.require_output": False}


@dataclass(frozen=True)
class OneLiner:
    """A command as the text of `run.command`, and its inputs."""

    command: str
    inputs: tuple[str, ...]

    @property
    def names_outputs(self) -> bool:
        """Whether a word of the command may name a file made from the input."""
        columns = named_columns(self.command)
        template = split_template(self.command, columns)
        if template is None:
            return False
        given = Given(("/input",) * 9, dict.fromkeys(columns, "/input"), 1)
        named = template.grammar.named_besides(template.words, given, ("/input",))
        # A word that ends with the input's own path, like `in={}`, only passes it on.
        return any(not name.endswith("/input") for name in named)

    def run_name(self, folder: Path) -> str:
        """Return a name for its run: the program's, plus what tells this command from others.

        The content of the scripts in `folder` that it names counts, too.
        """
        words = shlex.split(self.command)
        named = scripts_beside(folder, words_of(self.command))
        if "/" in words[0] and (folder / words[0]).is_file():
            named = [words[0], *named]
        scripts = dict.fromkeys(folder / name for name in named)
        content = b"".join(script.read_bytes() for script in scripts)
        digest = hashlib.sha256(self.command.encode() + b"\0" + content).hexdigest()
        stem = posixpath.splitext(posixpath.basename(words[0]))[0]
        plain = re.sub(r"[^A-Za-z0-9]+", "-", stem)[:_NAME_CHARACTERS].strip("-")
        return f"{plain or 'run'}-{digest[:8]}"


def parse(words: Sequence[str], *, has_inputs: bool = False) -> OneLiner | None:
    """Read the words after `--`; None if there are none.

    With `has_inputs` it need not name any files: the jobs come from elsewhere.

    Raises UsageError for words that are not such a line, and for what only GNU parallel
    understands.
    """
    if not words:
        return None
    place = next((n for n, word in enumerate(words) if word.startswith(BEFORE_FILES)), None)
    if place is None and has_inputs:
        return OneLiner(as_text(words), ())
    if place is None:
        named = " ".join(map(escape, words))
        raise UsageError(f"parallelize run does not take: {named}", None, _HOW)
    command, files = words[:place], words[place + 1 :]
    odd = [word for word in words[place:] if word.startswith(BEFORE_FILES)]
    if odd != [BEFORE_FILES]:
        raise UsageError(
            f"{' '.join(map(escape, odd))} is not understood here",
            "one ::: is allowed, before the file names",
            "for a list in a file: parallelize run --inputs @LIST --command COMMAND",
        )
    if not command:
        raise UsageError("there is no command before :::", None, _USAGE)
    if not files:
        raise UsageError(
            "there are no files after :::", "the pattern may have matched nothing", _USAGE
        )
    return OneLiner(as_text(command), tuple(files))


@contextmanager
def settings_of(line: OneLiner | None) -> Iterator[Mapping[str, object]]:
    """Give the settings that a line stands for; they are valid within the context.

    If its command names no output, every file that it leaves is one, and it need not leave any:
    that is how the command works on its own.
    """
    if line is None:
        yield {}
        return
    with TemporaryDirectory(prefix="parallelize-") as folder:
        names = Path(folder) / "inputs"
        # Names are relative to the current folder, and settings to their own file.
        names.write_bytes(b"".join(_absolute(name) + b"\0" for name in line.inputs))
        told = {"run.command": line.command}
        if line.inputs:
            told["run.inputs"] = f"@{names}"
        yield told if line.names_outputs else {**told, **_WHATEVER_IT_LEAVES}


def _absolute(name: str) -> bytes:
    if name.startswith("s3://"):
        return name.encode("utf-8", errors="surrogateescape")
    return bytes(Path.cwd() / name)
