"""Job folders that could not be removed: moved aside, told once, and tried again later.

A command may leave what only root can remove, as `docker run -v` does. That is no reason for a
worker to stop, nor for the next job to meet it.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import structlog

from parallelize_agent.process import isolation
from parallelize_agent.process.job_users import JobUser, JobUsers

log = structlog.get_logger()


class LeftOver:
    """The folder for what cannot be removed; `users` are those whose files may be in it."""

    def __init__(self, folder: Path, users: JobUsers | None) -> None:
        self._folder = folder
        self._users = users
        self._kept: dict[Path, set[int]] = {}
        """The users whose numbers nobody may have, as files of theirs are left."""

    def remove(self, path: Path, user: JobUser | None = None) -> None:
        """Remove the folder of a job, or move it aside; its user is free once it is gone."""
        numbers = {user.number} if user else set()
        try:
            isolation.remove(path)
            self._give_back(numbers)
        except OSError as error:
            aside = self._move_aside(path)
            self._kept[aside] = numbers
            log.warning("job folder not removed", folder=str(aside), reason=error.strerror)

    def sweep(self) -> None:
        """Try again to remove what is there, be it of an earlier agent."""
        for path in self._folder.iterdir() if self._folder.exists() else ():
            numbers = self._kept.pop(path, None) or self._reserve_owners(path)
            try:
                isolation.remove(path)
                self._give_back(numbers)
            except OSError:
                self._kept[path] = numbers

    def _give_back(self, numbers: set[int]) -> None:
        if self._users:
            for number in numbers:
                self._users.give_back(number)

    def _reserve_owners(self, path: Path) -> set[int]:
        if self._users is None:
            return set()
        return {number for number in _owners(path) if self._users.reserve(number)}

    def _move_aside(self, path: Path) -> Path:
        aside = self._folder / uuid.uuid4().hex
        try:
            self._folder.mkdir(mode=0o711, exist_ok=True)
            path.rename(aside)
        except OSError:
            return path
        return aside


def _owners(path: Path) -> set[int]:
    """Return who owns the folders below a path, as far as they can be seen."""
    return {os.fstat(folder).st_uid for _, _, _, folder in os.fwalk(path)}
