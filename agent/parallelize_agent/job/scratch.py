"""The folders of one job: a scratch folder that the command sees, and what the agent keeps.

<jobs>/<number>/
    stdout, log             what the command printed; the agent's own, out of the job's reach
    scratch/                the command's working directory
        <entry>             a link for each top-level entry of the environment
        .parallelize/input/ the input, under its own name
        .parallelize/tmp/   TMPDIR, and /tmp where the job has a user of its own
"""

from __future__ import annotations

import itertools
import posixpath
from dataclasses import dataclass
from pathlib import Path

from parallelize_agent.process import isolation as sandbox
from parallelize_agent.process.job_users import JobUser, JobUsers, can_start
from parallelize_core.errors import UsageError

PRIVATE = ".parallelize"
"""The one name in a scratch folder that no environment can have."""


@dataclass(frozen=True)
class JobFolder:
    """Where one job's files lie, and whose they are; no `user` means the agent's own."""

    root: Path
    key: str
    user: JobUser | None = None

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
    def own_places(self) -> dict[str, Path]:
        """Where the folders lie that the job finds under a common name, by that name."""
        return dict.fromkeys(sandbox.OWN_PLACES, self.tmp) if self.user else {}

    @property
    def stdout(self) -> Path:
        """What the command printed on stdout."""
        return self.root / "stdout"

    @property
    def log(self) -> Path:
        """What the command printed on stdout and stderr, as it came."""
        return self.root / "log"


class ScratchSpace:
    """Makes and removes job folders below `root`; `users` are there if jobs are not the agent."""

    def __init__(self, root: Path, users: JobUsers | None = None) -> None:
        self._root = root
        self._users = users
        self._numbers = itertools.count()
        # What an earlier agent left when it was killed belongs to nobody now.
        sandbox.remove(root)
        root.mkdir(parents=True)
        root.chmod(0o711)

    def check(self) -> None:
        """Raise UsageError if this machine cannot keep jobs apart, although it should."""
        if self._users is None:
            return
        folder = self.make("check")
        self.furnish(folder, None)
        why = can_start(sandbox.job_prefix(folder.user, folder.tmp), folder.scratch)
        self.remove(folder)
        if why:
            raise UsageError(
                "this machine cannot keep jobs apart, so none is run",
                why,
                f"it takes user namespaces, setpriv and unshare, and a work folder that is not "
                f"below {' or '.join(sandbox.OWN_PLACES)}",
            )

    def make(self, key: str) -> JobFolder:
        """Make the folders of a job at the input `key`."""
        # A file system searches a folder of few entries faster, hence the two levels.
        number = next(self._numbers)
        user = self._users.take() if self._users else None
        folder = JobFolder(self._root / f"{number % 100:02d}" / f"{number}", key, user)
        folder.input.parent.mkdir(parents=True)
        folder.tmp.mkdir()
        for private in (folder.root.parent, folder.root):
            private.chmod(0o711)
        return folder

    def furnish(self, folder: JobFolder, environment: Path | None) -> None:
        """Link the environment's entries in, and hand the scratch folder to the job's user."""
        for entry in sorted(environment.iterdir()) if environment else ():
            (folder.scratch / entry.name).symlink_to(entry)
        sandbox.give(folder.scratch, folder.user)

    def reclaim(self, folder: JobFolder) -> None:
        """Take the scratch folder back from the job's user, once nothing of the job runs."""
        sandbox.take_back(folder.scratch, folder.user)

    def remove(self, folder: JobFolder) -> None:
        """Remove everything of a job, whatever it did to its own permissions."""
        sandbox.remove(folder.root)
        if self._users and folder.user:
            self._users.give_back(folder.user)
