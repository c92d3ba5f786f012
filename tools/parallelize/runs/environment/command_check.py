"""Checks, before anything is uploaded, that a worker can start the command.

The answer comes from the environment's zip, which is what the worker will see.
"""

from __future__ import annotations

import os
import platform
import posixpath
import re
import shlex
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from parallelize.console import escape
from parallelize.runs.environment.placeholders import check_plain
from parallelize_core.errors import UsageError

_HEAD_BYTES = 4096
_ELF_MACHINES = {62: "x86-64", 183: "aarch64"}
_FOREIGN = {
    b"MZ": "Windows", b"\xcf\xfa\xed\xfe": "macOS", b"\xca\xfe\xba\xbe": "macOS",
}  # fmt: skip
_GRAVITON = re.compile(r"[a-z]+\d+g[a-z]*\.|a1\.")
"""https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html"""


class Packed(NamedTuple):
    """An environment's zip; `shown` is the user's name for it, such as `env/`.

    `own` zips may come from any program. Their modes are unreliable, so workers set them.
    """

    archive: zipfile.ZipFile
    shown: str
    prefix: str = ""
    own: bool = False
    on_workers: bool = True
    """Whether the machines lack this user's programs; those of the local cloud have them."""


class Program(NamedTuple):
    """A file of the environment; `mode` is None if its zip is unreliable about modes."""

    name: str
    head: bytes
    mode: int | None


def split_command(text: str | None) -> tuple[str, ...]:
    """Return the words of the command; raise UsageError if it is empty or needs a shell."""
    check_plain(text or "")
    try:
        words = tuple(shlex.split(text or ""))
    except ValueError as error:
        raise UsageError(f"the command {escape(text or '')} cannot be read", str(error)) from None
    if not words:
        raise UsageError(
            "there is no command to run", "run.command is not set",
            'run.command = "./job.sh" in parallelize.toml, or --command',
        )  # fmt: skip
    return words


def architectures(types: Sequence[str]) -> set[str]:
    """Return the processor architectures of these instance types."""
    return {"aarch64" if _GRAVITON.match(name) else "x86-64" for name in types}


def this_architecture() -> str:
    """Return this machine's processor architecture."""
    machine = platform.machine().lower()
    return {"amd64": "x86-64", "x86_64": "x86-64", "arm64": "aarch64"}.get(machine, machine)


_A_PYTHON = re.compile(rb"#!/\S*/python[0-9.]*")

_UV_SWITCHES = {"--script", "-s", "--frozen", "--locked", "--no-sync", "--quiet", "-q", "--offline"}
"""Options of `uv run` that change nothing once the dependencies are installed."""


def without_uv(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that `uv run` would start; workers have installed the dependencies.

    Raises UsageError for what only uv could do.
    """
    if command[:2] != ("uv", "run"):
        return command
    rest = command[2:]
    while rest and rest[0] in _UV_SWITCHES:
        rest = rest[1:]
    if not rest or rest[0].startswith("-"):
        raise UsageError(
            f'the command "{escape(shlex.join(command))}" makes uv install packages for each file',
            "workers install the environment's dependencies before the first job",
            'run.command = "python SCRIPT.py", and all packages in its list of dependencies',
        )
    return ("python", *rest) if rest[0].endswith(".py") else rest


def by_python(command: tuple[str, ...], packed: Packed) -> tuple[str, ...]:
    """Return the command with Python before a script whose first line names uv or a Python.

    Those would lack the packages that workers install for the environment.
    """
    name = _inside(command[0], packed)
    if command[0].startswith("/") or name not in packed.archive.namelist():
        return command
    with packed.archive.open(name) as file:
        words = file.read(_HEAD_BYTES).split(b"\n", 1)[0].split()
    by_env = words[:1] in ([b"#!/usr/bin/env"], [b"#!/bin/env"])
    runs_uv = by_env and b"uv" in words[1:3]
    other = len(words) == 1 and _A_PYTHON.fullmatch(words[0])
    return ("python", *command) if runs_uv or other else command


def has_program(command: Sequence[str], packed: Packed) -> bool:
    """Whether the environment has the command's program."""
    return _inside(command[0], packed) in packed.archive.namelist()


def check_command(
    command: Sequence[str], packed: Packed, machines: set[str], setting: str = "run.command"
) -> None:
    """Raise UsageError if the `machines` could not start the command's program.

    A bare word that is not in the environment, or an absolute path, is a program of the worker's
    own, which cannot be checked here.
    """
    if packed.on_workers:
        _check_place(command[0], f"the command of {setting}")
    program = _find(command[0], packed, setting)
    if program is None:
        return
    if program.mode is not None and not program.mode & 0o111:
        raise UsageError(
            f"{program.name} is not executable", fix=f"chmod +x {escape(program.name)}"
        )
    if program.head.startswith(b"#!"):
        check_script(program.head, program.name)
        if packed.on_workers:
            _check_place(_interpreter(program.head), f"the #! line of {escape(program.name)}")
    else:
        _check_binary(program, machines)


def _interpreter(head: bytes) -> str:
    return os.fsdecode(head[2:].split(b"\n", 1)[0].split()[0])


def _check_place(path: str, who: str) -> None:
    """Raise UsageError for a program in somebody's home folder, which does not exist on workers."""
    if path.startswith(("/home/", "/Users/", f"{Path.home()}/")):
        raise UsageError(
            f"{who} names {escape(path)}, which a worker does not have",
            "a home folder stays on its machine",
            'put the program into the environment; for a script: "#!/usr/bin/env python3"',
        )


def needs_environment(command: Sequence[str]) -> bool:
    """Whether the command is a path into the environment."""
    return "/" in command[0] and not command[0].startswith("/")


def _inside(word: str, packed: Packed) -> str:
    return posixpath.normpath(posixpath.join(packed.prefix, word))


def _find(word: str, packed: Packed, setting: str) -> Program | None:
    if word.startswith("/"):
        return None
    inside = _inside(word, packed)
    name = posixpath.join(packed.shown, inside)
    try:
        info = packed.archive.getinfo(inside)
    except KeyError:
        if "/" not in word:
            return None
        raise UsageError(
            f"{escape(name)} does not exist", f'it is the command "{escape(word)}"',
            f"write it, or fix {setting} (and run.env_prefix)",
        ) from None  # fmt: skip
    mode = None if packed.own else info.external_attr >> 16
    with packed.archive.open(info) as file:
        return Program(name, file.read(_HEAD_BYTES), mode)


def check_script(head: bytes, name: str) -> None:
    """Raise UsageError if a script's first line does not name a program that could run it."""
    first = head.split(b"\n", 1)[0]
    if first.endswith(b"\r"):
        raise UsageError(
            f"{escape(name)} has Windows line endings (CRLF)",
            'its first line asks for a program whose name ends in "\\r"',
            f"sed -i 's/\\r$//' {escape(name)}",
        )
    words = first[2:].split() if first.startswith(b"#!") else ()
    if not words or (len(words) == 1 and posixpath.basename(words[0]) == b"env"):
        raise UsageError(f"the #! line of {escape(name)} names no program", fix=_SHEBANG)


_SHEBANG = 'make its first line "#!/bin/sh", or "#!/usr/bin/env python3"'


def _check_binary(program: Program, machines: set[str]) -> None:
    name = escape(program.name)
    for magic, system in _FOREIGN.items():
        if program.head.startswith(magic):
            raise UsageError(f"{name} is a program for {system}", "workers run Linux")
    if not program.head.startswith(b"\x7fELF"):
        raise UsageError(f"{name} has no #! line", "a worker cannot tell how to run it", _SHEBANG)
    machine = _ELF_MACHINES.get(struct.unpack_from("<H", program.head.ljust(20, b"\0"), 18)[0])
    if machine and machine not in machines:
        raise UsageError(
            f"{name} is made for {machine}, but workers are {' and '.join(sorted(machines))}",
            "workers.types decides that", "build it for them, or choose other workers.types",
        )  # fmt: skip
