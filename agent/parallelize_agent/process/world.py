"""A command's world: the user that it runs as, and its private folders.

The folders for temporary files, which programs insist on, are the job's own: those on disk are its
TMPDIR, /dev/shm is a memory file system that goes with the job, and so do its System V and POSIX
queues. This takes a user namespace, which needs no further right. There is no new process id
namespace: then /proc would have to be mounted again, which the kernel refuses where parts of it
are protected, as in the image's unit.

A program of the agent's own builds the world and becomes the command (`starter.py`): the system's
programs for this (setpriv, unshare, mount), six in a row, take three times as much CPU time.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import structlog

from parallelize_agent.process import starter
from parallelize_agent.process import tree as process_tree
from parallelize_agent.process.job_users import JobUser
from parallelize_agent.process.tree import Child

log = structlog.get_logger()

OWN_PLACES = ("/tmp", "/var/tmp")  # noqa: S108 - these names are what it is about
"""A job also finds its TMPDIR under these names."""

PATIENCE_SECONDS = 60.0
"""How long a command may take to be started; on a machine that swaps it takes seconds."""

_INT_BYTES = 4
_END_SECONDS = 1.0
"""A program that ends closes its files first, and can be reaped a moment later."""

_PIPE_BYTES = 64 * 1024


@dataclass(frozen=True)
class World:
    """The user that a command runs as, and what it sees at a path in place of what the agent sees.

    `mounts` are pairs of a source and its path; None if the command makes its own namespaces.
    No capability is left in any set, and set-user-ID programs such as sudo give none back.
    """

    user: JobUser
    mounts: tuple[tuple[str, str], ...] | None = None

    @classmethod
    def of_job(cls, user: JobUser, tmp: Path | str, hidden: Sequence[Path] = ()) -> World:
        """Return the world of a job whose temporary files go to `tmp`.

        /dev/null covers the device nodes that it may not open (`hidden`).
        """
        own = [(str(tmp), place) for place in OWN_PLACES]
        return cls(user, (*own, *((os.devnull, str(node)) for node in hidden)))

    def refusal(self, folder: Path) -> str | None:
        """Return why a command could not work in `folder`, or None if it could."""
        words = ("/bin/sh", "-c", 'test -w "$0"', str(folder))
        try:
            with COMMANDS.start(Start(words, folder, {}, self)) as child:
                said = os.read(child.stderr, _PIPE_BYTES).decode(errors="replace").strip()
                code, _, _ = child.reap()
        except OSError as error:
            return str(error)
        return (said[-300:] or f"{folder} cannot be written to (exit {code})") if code else None


@dataclass(frozen=True)
class Start:
    """A command to be started in a world.

    `entries` are files that its process writes to first, each with the text. It is
    started from the mount namespace with the descriptor `namespace`, None for the
    agent's.
    """

    argv: tuple[str, ...]
    folder: Path | str
    environ: Mapping[str, str]
    world: World
    entries: tuple[tuple[str, str], ...] = ()
    namespace: int | None = None

    def encoded(self) -> bytes:
        """Return it in the starter's form; raise ValueError for what no program can be given."""
        user, mounts = self.world.user, self.world.mounts
        request: starter.Request = (
            tuple(map(os.fsencode, self._paths())),
            tuple(map(os.fsencode, self.argv)),
            {os.fsencode(name): os.fsencode(value) for name, value in self._variables().items()},
            os.fsencode(self.folder),
            _encoded(self.entries),
            (user.number, user.uid, user.gid),
            None if mounts is None else _encoded(mounts),
        )
        return marshal.dumps(request)

    def _variables(self) -> dict[str, str]:
        # As a shell does.
        variables = {"PWD": str(self.folder), **self.environ}
        if any("=" in name for name in variables):
            raise ValueError("illegal environment variable name")
        if any("\0" in text for text in (*self.argv, *variables, *variables.values())):
            raise ValueError("embedded null byte")
        return variables

    def _paths(self) -> list[str]:
        program, path = self.argv[0], self.environ.get("PATH", os.defpath)
        if "/" in program or not program:
            return [program]
        return [os.path.join(folder, program) for folder in path.split(":")]  # noqa: PTH118


class Starter:
    """Starts commands in their worlds through a separate program; safe to use from any thread.

    The program is started on first use, and again if it has ended.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._program: _Program | None = None

    @property
    def pid(self) -> int | None:
        """The program's process id; None if it has not been started."""
        return self._program.process.pid if self._program else None

    def start(self, start: Start, *, with_stdin: bool = False) -> Child:
        """Start a command with its output in pipes.

        Raises OSError if it cannot be started: with an errno if that is the command's fault, else
        without one. Raises ValueError for a word or a variable that no program can be given.
        """
        request = start.encoded()
        with ExitStack() as kept:
            with ExitStack() as given:
                told, status = _pipe(kept, given)
                stdout, their_stdout = _pipe(kept, given)
                stderr, their_stderr = _pipe(kept, given)
                their_stdin, stdin = _pipe(given, kept) if with_stdin else (_nothing(given), None)
                files = [status, their_stdin, their_stdout, their_stderr, _file(request, given)]
                program = self._ask([file.fileno() for file in files], start.namespace)
            number = self._answer(told, program, start.argv[0])
            child = process_tree.follow(number, stdout, stderr, stdin)
            kept.pop_all()
        told.close()
        return child

    def close(self) -> None:
        """End the program; the commands that it has started continue."""
        with self._lock:
            if self._program:
                self._program.end()
            self._program = None

    def _ask(self, files: Sequence[int], namespace: int | None) -> _Program:
        """Send a request, and return the program that received it."""
        numbers = [*files, *([] if namespace is None else [namespace])]
        with self._lock:
            if self._program is None:
                self._program = _Program.started()
            try:
                socket.send_fds(self._program.socket, [b"+"], numbers)
            except ConnectionError:
                self._replace(self._program)
                socket.send_fds(self._program.socket, [b"+"], numbers)
            return self._program

    def _answer(self, told: FileIO, program: _Program, word: str) -> int:
        """Return the process id of a started command; raise OSError if none was started."""
        answer, is_whole = _read(told, self._patience_seconds)
        number, why = int.from_bytes(answer[:_INT_BYTES], sys.byteorder), answer[_INT_BYTES:]
        if is_whole and number and not why:
            return number
        if number:
            _end(number)
        if not is_whole or (not answer and program.has_ended()):
            with self._lock:
                if self._program is program:
                    self._replace(program)
        raise _refusal(why, word) if is_whole else OSError("the command was not started in time")

    def _replace(self, program: _Program) -> None:
        code = program.end()
        log.warning("the program that starts commands has ended, and is started again", exit=code)
        self._program = None
        self._program = _Program.started()


class _Program:
    """A running starter, and its socket."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", starter.__file__, str(number)],
                # It and its copies must have nothing that a job may not see.
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(number,),
                start_new_session=True,
            )
        process_tree.own_programs.add(self.process.pid)

    @classmethod
    def started(cls) -> _Program:
        """Start it; an OSError has no errno, because no command is at fault."""
        try:
            return cls()
        except OSError as error:
            raise OSError(f"the program that starts commands cannot be started: {error}") from error

    def has_ended(self) -> bool:
        """Whether it has ended, or is about to."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_SECONDS)
        return self.process.returncode is not None

    def end(self) -> int:
        """End it, and return its exit code."""
        self.socket.close()
        self.process.kill()
        code = self.process.wait()
        process_tree.own_programs.discard(self.process.pid)
        return code


COMMANDS = Starter()
"""Starts this process's commands."""


def _pipe(reads: ExitStack, writes: ExitStack) -> tuple[FileIO, FileIO]:
    source, target = os.pipe()
    return reads.enter_context(FileIO(source)), writes.enter_context(FileIO(target, "wb"))


def _nothing(stack: ExitStack) -> FileIO:
    return stack.enter_context(FileIO(os.devnull))


def _file(content: bytes, stack: ExitStack) -> FileIO:
    """Return a file in memory: messages have a size limit, and words can be millions of bytes."""
    file = stack.enter_context(FileIO(os.memfd_create("request"), "wb"))
    written = 0
    while written < len(content):
        written += file.write(content[written:])
    return file


def _encoded(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((os.fsencode(one), os.fsencode(other)) for one, other in pairs)


def _read(file: FileIO, seconds: float) -> tuple[bytes, bool]:
    """Read to the end, for at most `seconds`; return whether the end was reached."""
    content, deadline = b"", time.monotonic() + seconds
    poll = select.poll()
    poll.register(file, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        more = file.read(_PIPE_BYTES)
        if not more:
            return content, True
        content += more
    return content, False


def _end(number: int) -> None:
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)


def _refusal(why: bytes, word: str) -> OSError:
    """Return the error for a command that was not started."""
    if not why:
        return OSError("the process that was to become the command has ended")
    code, text = int.from_bytes(why[:_INT_BYTES], sys.byteorder), os.fsdecode(why[_INT_BYTES:])
    if code:
        return OSError(code, os.strerror(code), word)
    return OSError(f"the command cannot be isolated: {text}")
