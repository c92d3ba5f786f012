"""The run's environment: fetched once, unpacked safely, set up, shared as read-only files.

An environment may be a list of files: those that this worker has are copied, others fetched. A
set-up may have changed files of the worker's other environments. So copies are compared
with the checksum, like fetched files.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog

from parallelize_agent.job import dependencies
from parallelize_agent.job.preparation import Preparer, Step
from parallelize_agent.machine import host
from parallelize_agent.process import isolation as sandbox
from parallelize_agent.process.isolation import Container
from parallelize_agent.process.read_only import ReadOnlyFolder
from parallelize_core import archive, contents
from parallelize_core.errors import DecodeError, UsageError
from parallelize_core.file_list import FileList, Listed, read_list
from parallelize_core.run import Environment, Run
from parallelize_core.store import Store

FETCHED_AT_ONCE = 8

_CHUNK_BYTES = 1024 * 1024
_ENDING = ".files"


@dataclass(frozen=True)
class FileSite:
    """Builds an environment's folder, below `root` next to those of others."""

    root: Path
    store: Store
    environment: Environment
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def provide(self, place: Path, max_bytes: int) -> int:
        """Build everything in the new folder `place`; return how many bytes were fetched.

        Raises UsageError for a list that is refused, content that differs, and more than
        `max_bytes`.
        """
        body = self.store.get(self.environment.list_key or "")
        wanted = read_list(body, self.environment.identity)
        total = sum(file.size for file in wanted.files)
        if total > max_bytes:
            raise UsageError(
                "the environment is too large for this worker",
                f"it has {total:,} bytes, {max_bytes:,} are allowed", "increase workers.disk",
            )  # fmt: skip
        _make_folders(place, wanted)
        files = [file for file in wanted.files if not file.is_folder]
        with ThreadPoolExecutor(FETCHED_AT_ONCE, "environment") as pool:
            fetched = sum(pool.map(lambda file: self._provide(file, place / file.name), files))
        place.with_suffix(_ENDING).write_bytes(body)
        return fetched + len(body)

    def _provide(self, file: Listed, target: Path) -> int:
        fetched = 0 if self._copy(file, target) else self._fetch(file, target)
        target.chmod(file.mode & 0o755 | 0o600)
        return fetched

    def _fetch(self, file: Listed, target: Path) -> int:
        scratch = self.root / f"fetched-{next(self._numbers)}"
        there = self.environment.contents
        return contents.fetch(self.store, there, file, target, scratch)

    def _copy(self, file: Listed, target: Path) -> bool:
        """Copy a file from another environment; return False if none has it unchanged."""
        source = self._here.get(file.sha256)
        if source is None:
            return False
        try:
            if _copied(source, target, file.size) == file.sha256:
                return True
        except OSError:
            pass  # it is gone or unreadable; if the disk is full, the fetch will report it
        target.unlink(missing_ok=True)
        return False

    @cached_property
    def _here(self) -> dict[str, Path]:
        """Which content this worker has, and where, from the lists of its other environments."""
        found: dict[str, Path] = {}
        for listed in sorted(self.root.glob(f"*{_ENDING}")):
            try:
                files = read_list(listed.read_bytes()).contents
            except DecodeError:
                continue  # its agent was killed while writing it
            found |= {sha256: listed.with_suffix("") / f.name for sha256, f in files.items()}
        return found


def _make_folders(place: Path, wanted: FileList) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for file in wanted.files:
        folder = place / file.name
        (folder if file.is_folder else folder.parent).mkdir(parents=True, exist_ok=True)


def _copied(source: Path, target: Path, size: int) -> str:
    """Copy a file of `size` bytes and return its SHA-256; empty if the size differs."""
    digest = hashlib.sha256()
    # A set-up may have put anything there, and a link could lead anywhere.
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened, target.open("wb") as file:
        if os.fstat(descriptor).st_size != size:
            return ""
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


log = structlog.get_logger()


class Environments:
    """Unpacked environments below `root`; what takes time is done in a thread of `files`.

    A ready environment stays ready for a restarted agent, until the machine boots again:
    files written before an unclean end may be incomplete.
    """

    def __init__(
        self,
        root: Path,
        open_store: Callable[[str], Store],
        preparer: Preparer,
        files: Executor,
        boot_id: str | None = None,
    ) -> None:
        self._root = root
        self._open_store = open_store
        self._preparer = preparer
        self._files = files
        self._ready: dict[tuple[str, str, str], Path] = {}
        self._latest: tuple[Run, Path] | None = None
        """The record of the run that was asked for last, and its folder."""
        self._boot_id = host.boot_id() if boot_id is None else boot_id
        self._lock = threading.Lock()
        self._unpacked: set[Path] = set()
        self.read_only = ReadOnlyFolder(root)
        root.mkdir(parents=True, exist_ok=True)
        for entry in root.iterdir():
            if entry.is_dir() and not self._is_ready(entry):
                sandbox.remove(entry)

    async def check(self, run: Run) -> None:
        """Fetch the run's environment and check it, but leave its set-up for later.

        Raises UsageError if the zip is refused, or lacks the prefix or command.
        """
        if run.environment and not (run.setup or run.dependencies):
            await self.folder(run)
        elif run.environment:
            await self._in_thread(self._look_at, run, run.environment)

    async def folder(self, run: Run, container: Container | None = None) -> Path | None:
        """Return the folder with the run's environment, ready for jobs; None if it has none.

        A set-up runs in the `container` in which jobs will run.

        Raises UsageError if the zip is refused, or lacks the prefix or command; SetupError if
        its set-up fails.
        """
        environment = run.environment
        if environment is None:
            return None
        if self._latest and self._latest[0] is run:
            return self._latest[1]
        wanted = (identity(run), environment.prefix, run.command[0])
        if wanted not in self._ready:
            self._ready[wanted] = await self._in_thread(self._provide, run, environment, container)
        self._latest = run, self._ready[wanted]
        return self._ready[wanted]

    def stop(self) -> None:
        """Stop a set-up that runs, and start no other."""
        self._preparer.stop()

    async def _in_thread(self, do: Callable[..., Path], *of: Any) -> Path:
        return await asyncio.get_running_loop().run_in_executor(self._files, do, *of)

    def _look_at(self, run: Run, environment: Environment) -> Path:
        with self._lock:
            place = self._unpack(run, environment)
        return _inside(place, environment)

    def _provide(self, run: Run, environment: Environment, container: Container | None) -> Path:
        with self._lock:
            place = self._unpack(run, environment)
            if not self._is_ready(place):
                self._make_ready(place, run, container)
        folder = _inside(place, environment)
        _make_runnable(folder, run.command[0])
        return folder

    def _unpack(self, run: Run, environment: Environment) -> Path:
        place = self._root / identity(run)
        if place in self._unpacked or self._is_ready(place):
            return place
        sandbox.remove(place)  # left by an attempt that ran out of room
        store, room = self._open_store(environment.bucket), host.free_bytes(self._root) // 2
        if environment.key is None:
            size = FileSite(self._root, store, environment).provide(place, room)
        else:
            zip_file = self._root / "environment.zip"
            size = store.get_file(environment.key, zip_file)
            archive.extract(zip_file, place, max_bytes=room)
            zip_file.unlink()
        self._unpacked.add(place)
        log.info("environment unpacked", identity=environment.identity, fetched_bytes=size)
        return place

    def _make_ready(self, place: Path, run: Run, container: Container | None) -> None:
        assert run.environment  # noqa: S101 - else there is no such place
        folder = _inside(place, run.environment)
        for step in _steps(run, folder):
            self._preparer.prepare(place, folder, step, container)
        _protect(place)
        _mark(place).write_text(self._boot_id, encoding="ascii")

    def _is_ready(self, place: Path) -> bool:
        mark = _mark(place)
        return mark.exists() and mark.read_text(encoding="ascii") == self._boot_id


def identity(run: Run) -> str:
    """Return what distinguishes environments, and their set-ups, in file names."""
    # A set-up made in one image may be useless in another.
    environment = run.environment_identity
    setup = run.setup.command if run.setup else ()
    packages = [run.dependencies.model_dump_json()] if run.dependencies else []
    text = json.dumps([environment, *setup, *packages])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _steps(run: Run, folder: Path) -> Iterator[Step]:
    if run.dependencies:
        yield dependencies.install(run.dependencies, folder)
    if run.setup:
        program = run.setup.command[0]
        _make_runnable(folder, program, "run.setup")
        path = os.environ.get("PATH", os.defpath)
        environ = dependencies.variables(run.dependencies, folder, path)
        yield Step(f"the set-up {program}", run.setup.command, run.setup.timeout_seconds, environ)


def _mark(place: Path) -> Path:
    return place.with_suffix(".ready")


def _inside(place: Path, environment: Environment) -> Path:
    folder = place / environment.prefix
    if not folder.is_dir():
        raise UsageError(f'the environment has no folder "{environment.prefix}"')
    return folder


def _make_runnable(folder: Path, program: str, setting: str = "run.command") -> None:
    path = folder / program
    if not path.is_file():
        if "/" in program and not program.startswith("/"):
            raise UsageError(
                f'the environment has no "{program}"',
                f"it holds: {', '.join(sorted(entry.name for entry in folder.iterdir())[:10])}",
                f"fix {setting} or run.env, then: parallelize prep",
            )
        return
    if path.resolve().is_relative_to(folder.resolve()):
        mode = path.stat().st_mode
        # Not again for each job: that would look as if a job had changed it.
        if mode & 0o555 != 0o555:
            path.chmod(mode | 0o555)


def _protect(folder: Path) -> None:
    """Make everything readable by the jobs' users, and writable by nobody."""
    for root, folders, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod((path.stat().st_mode | 0o444) & ~0o222)
        for name in folders:
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod(stat.S_IRWXU & ~0o200 | 0o055)
    folder.chmod(0o755)
