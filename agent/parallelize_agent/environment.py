"""The run's environment: fetched once, unpacked safely, shared by all jobs as read-only files."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from parallelize_agent import host, sandbox
from parallelize_core import archive
from parallelize_core.errors import UsageError
from parallelize_core.run import Environment, Run
from parallelize_core.store import Store

log = structlog.get_logger()


class Environments:
    """Unpacked environments below `root`, by their identity; safe to use from any thread."""

    def __init__(self, root: Path, open_store: Callable[[str], Store]) -> None:
        # What an earlier agent left when it was killed may be half of something.
        sandbox.remove(root)
        root.mkdir(parents=True)
        self._root = root
        self._open_store = open_store
        self._lock = threading.Lock()
        self._ready: dict[str, Path] = {}

    def folder(self, run: Run) -> Path | None:
        """Return the folder with the run's environment, None if it has none.

        Raises UsageError if the zip is refused, or has no such prefix or command.
        """
        environment = run.environment
        if environment is None:
            return None
        with self._lock:
            if environment.identity not in self._ready:
                self._ready[environment.identity] = self._fetch(environment)
        folder = self._ready[environment.identity] / environment.prefix
        if not folder.is_dir():
            raise UsageError(f'the environment has no folder "{environment.prefix}"')
        _make_runnable(folder, run.command[0])
        return folder

    def _fetch(self, environment: Environment) -> Path:
        zip_file = self._root / "environment.zip"
        size = self._open_store(environment.bucket).get_file(environment.key, zip_file)
        folder = self._root / f"{len(self._ready)}"
        archive.extract(zip_file, folder, max_bytes=host.free_bytes(self._root) // 2)
        zip_file.unlink()
        _protect(folder)
        log.info("environment ready", identity=environment.identity, zip_bytes=size)
        return folder


def command_line(command: tuple[str, ...], folder: Path | None) -> tuple[str, ...]:
    """Return the words to start the command with; a program of the environment comes first."""
    program, *arguments = command
    if folder and "/" not in program and (folder / program).is_file():
        return (f"./{program}", *arguments)
    return command


def _make_runnable(folder: Path, program: str) -> None:
    path = folder / program
    if not path.is_file():
        if "/" in program and not program.startswith("/"):
            raise UsageError(
                f'the environment has no "{program}"',
                f"it holds: {', '.join(sorted(entry.name for entry in folder.iterdir())[:10])}",
                "mend run.command or run.env, then: parallelize prep",
            )
        return
    if path.resolve().is_relative_to(folder.resolve()):
        path.chmod(path.stat().st_mode | 0o555)


def _protect(folder: Path) -> None:
    """Make everything readable by the job's user, and writable by nobody."""
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
