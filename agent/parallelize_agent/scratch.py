"""The folders of one job: a scratch folder that the command sees, and what the agent keeps.

<jobs>/<number>/
    stdout, log             what the command printed; the agent's own, out of the job's reach
    scratch/                the command's working directory
        <entry>             a link for each top-level entry of the environment
        .parallelize/input/ the input, under its own name
        .parallelize/tmp/   TMPDIR
"""

from __future__ import annotations

import itertools
import posixpath
from dataclasses import dataclass
from pathlib import Path

from parallelize_agent import sandbox

PRIVATE = ".parallelize"
"""The one name in a scratch folder that no environment can have."""


@dataclass(frozen=True)
class JobFolder:
    """Where one job's files lie."""

    root: Path
    key: str

    @property
    def scratch(self) -> Path:
        """The command's working directory."""
        return self.root / "scratch"

    @property
    def input(self) -> Path:
        """The staged input."""
        return self.scratch / PRIVATE / "input" / posixpath.basename(self.key)

    @property
    def tmp(self) -> Path:
        """Where the command's temporary files go."""
        return self.scratch / PRIVATE / "tmp"

    @property
    def stdout(self) -> Path:
        """What the command printed on stdout."""
        return self.root / "stdout"

    @property
    def log(self) -> Path:
        """What the command printed on stdout and stderr, as it came."""
        return self.root / "log"


class ScratchSpace:
    """Makes and removes job folders below `root`; `user` is the second user, if there is one."""

    def __init__(self, root: Path, user: str | None = None) -> None:
        self._root = root
        self._user = user
        self._numbers = itertools.count()
        # What an earlier agent left when it was killed belongs to nobody now.
        sandbox.remove(root, user)
        root.mkdir(parents=True)
        root.chmod(0o711)

    def make(self, key: str) -> JobFolder:
        """Make the folders of a job at the input `key`."""
        # A file system searches a folder of few entries faster, hence the two levels.
        number = next(self._numbers)
        folder = JobFolder(self._root / f"{number % 100:02d}" / f"{number}", key)
        folder.input.parent.mkdir(parents=True)
        folder.tmp.mkdir()
        for private in (folder.root.parent, folder.root):
            private.chmod(0o711)
        return folder

    def furnish(self, folder: JobFolder, environment: Path | None) -> None:
        """Link the environment's entries in, and hand the scratch folder to the job's user."""
        for entry in sorted(environment.iterdir()) if environment else ():
            (folder.scratch / entry.name).symlink_to(entry)
        sandbox.give(folder.scratch, self._user)

    def reclaim(self, folder: JobFolder) -> None:
        """Take the scratch folder back from the job's user, once nothing of the job runs."""
        sandbox.take_back(folder.scratch, self._user)

    def remove(self, folder: JobFolder) -> None:
        """Remove everything of a job, whatever it did to its own permissions."""
        sandbox.remove(folder.root, self._user)
