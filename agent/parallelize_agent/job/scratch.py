"""The folders of one job: a scratch folder that the command sees, and what the agent keeps.

<jobs>/<number>/
    stdout, log             what the command printed; the agent's own, out of the job's reach
    scratch/                the command's working directory
        <entry>             each top-level entry of the environment: see furnishing
        .parallelize/input/ the input, under its own name
        .parallelize/checkpoint/    what the next attempt finds again
        .parallelize/tmp/   TMPDIR, and /tmp where the job has a user of its own

A folder that cannot be removed is moved aside, logged once, and tried again later. A command may
leave what only root can remove, as `docker run -v` does. That must neither stop a worker
nor affect the next job.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import structlog

from parallelize_agent.job.furnishing import Furnishing
from parallelize_agent.process import isolation
from parallelize_agent.process.job_users import JobUser, JobUsers
from parallelize_agent.process.world import OWN_PLACES
from parallelize_core.errors import UsageError

log = structlog.get_logger()


class LeftOver:
    """The folder for what cannot be removed; `users` are those who may own files in it."""

    def __init__(self, folder: Path, users: JobUsers | None) -> None:
        self._folder = folder
        self._users = users
        self._kept: dict[Path, set[int]] = {}
        """The users whose numbers must not be reused, because files of theirs are left."""

    def remove(self, path: Path | str, user: JobUser | None = None) -> None:
        """Remove a job's folder, or move it aside; its user is free once it is gone."""
        numbers = {user.number} if user else set()
        try:
            isolation.remove(path)
            self._give_back(numbers)
        except OSError as error:
            aside = self._move_aside(Path(path))
            self._kept[aside] = numbers
            log.warning("job folder not removed", folder=str(aside), reason=error.strerror)

    def sweep(self) -> None:
        """Try again to remove what is there, even if an earlier agent left it."""
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
    """Return the owners of the folders below a path, as far as they can be seen."""
    return {os.fstat(folder).st_uid for _, _, _, folder in os.fwalk(path)}


PRIVATE = ".parallelize"
"""The one name in a scratch folder that no environment can have."""

_FOLDERS = ("", f"/{PRIVATE}", *(f"/{PRIVATE}/{name}" for name in ("input", "tmp", "checkpoint")))


class Paths(NamedTuple):
    """The paths of one job as text: every job needs them, and pathlib would take 20 us more."""

    scratch: str
    inputs: str
    tmp: str
    checkpoint: str
    stdout: str
    log: str

    @classmethod
    def below(cls, root: str) -> Paths:
        """Return the paths of a job whose files are below `root`."""
        own = f"{root}/scratch/{PRIVATE}"
        return cls(
            f"{root}/scratch", f"{own}/input", f"{own}/tmp", f"{own}/checkpoint",  # noqa: S108
            f"{root}/stdout", f"{root}/log",
        )  # fmt: skip


@dataclass(frozen=True)
class JobFolder:
    """Where one job's files are, and who owns them; no `user` means the agent."""

    place: str
    """The path of the folder with all of them."""
    key: str
    user: JobUser | None = None
    names: tuple[str, ...] | None = None
    """The names of the staged files in their folder; a plain job's one file is named by its key."""

    @cached_property
    def at(self) -> Paths:
        """The paths of what is in it."""
        return Paths.below(self.place)

    @cached_property
    def input(self) -> str:
        """The staged input of a plain job."""
        return f"{self.at.inputs}/{posixpath.basename(self.key)}"

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """All staged inputs, in order."""
        if self.names is None:
            return (self.input,)
        return tuple(f"{self.at.inputs}/{name}" for name in self.names)

    @property
    def root(self) -> Path:
        """`place` as a Path."""
        return Path(self.place)

    @property
    def scratch(self) -> Path:
        """The command's working directory."""
        return Path(self.at.scratch)

    @property
    def listing(self) -> Path:
        """The list of the staged inputs, one path per line, of a job that is not plain."""
        return self.scratch / PRIVATE / "files"

    @property
    def outputs(self) -> Path:
        """The list of all outputs of the run, which its merge receives."""
        return self.scratch / PRIVATE / "outputs.jsonl"

    @property
    def tmp(self) -> Path:
        """The folder for the command's temporary files."""
        return Path(self.at.tmp)

    @property
    def checkpoint(self) -> Path:
        """What the job leaves here, its next attempt finds here again."""
        return Path(self.at.checkpoint)

    @property
    def own_places(self) -> dict[str, Path]:
        """The folders that the job sees under a common name, by that name."""
        return self.places_of_tmp if self.user else {}

    @property
    def places_of_tmp(self) -> dict[str, Path]:
        """The same for a job that sees its own folder there although it has no user of its own."""
        return dict.fromkeys(OWN_PLACES, self.tmp)

    @property
    def stdout(self) -> Path:
        """The lines of the command's stdout that could be paths."""
        return Path(self.at.stdout)

    @property
    def log(self) -> Path:
        """Everything that the command printed on stdout and stderr, in order."""
        return Path(self.at.log)


class ScratchSpace:
    """Makes and removes job folders below `root`; `users` are given if jobs have their own.

    Safe to use from any thread.
    """

    def __init__(self, root: Path, users: JobUsers | None = None) -> None:
        self.root = root
        self._users = users
        self._left_over = LeftOver(root.with_name("left-over"), users)
        self._numbers = itertools.count()
        self._furnishings: dict[Path, Furnishing] = {}
        # What an earlier agent left when it was killed belongs to nobody now.
        self._left_over.sweep()
        self._left_over.remove(root)
        root.mkdir(parents=True)
        root.chmod(0o711)
        # A file system searches a folder with few entries faster, hence the two levels.
        self._shelves = [f"{root}/{number:02d}" for number in range(100)]

    def check(self) -> None:
        """Raise UsageError if this machine cannot isolate jobs, although it should."""
        if self._users is None:
            return
        folder = self.reserve("check")
        self.make(folder)
        self.furnish(folder, None)
        world = isolation.world_of(folder.user, folder.tmp, None)
        why = world.refusal(folder.scratch) if world else None
        self.remove(folder)
        if why:
            raise UsageError(
                "this machine cannot isolate jobs, so it runs none",
                why,
                f"this needs user namespaces, and a work folder that is not "
                f"below {' or '.join(OWN_PLACES)}",
            )

    def reserve(self, key: str, names: tuple[str, ...] | None = None) -> JobFolder:
        """Choose a job's folders without creating them. `names` are those of its files."""
        number = next(self._numbers)
        user = self._users.take() if self._users else None
        shelf = self._shelves[number % len(self._shelves)]
        return JobFolder(f"{shelf}/{number}", key, user, names)

    def make(self, folder: JobFolder) -> None:
        """Create a job's folders."""
        root = folder.place
        try:
            _make_private(root)
        except FileNotFoundError:
            with suppress(FileExistsError):
                _make_private(posixpath.dirname(root))
            _make_private(root)
        for name in _FOLDERS:
            os.mkdir(f"{root}/scratch{name}")  # noqa: PTH102 - pathlib takes three times as long
        if folder.names is not None:
            _make_listed(folder)

    def furnish(self, folder: JobFolder, environment: Path | None) -> None:
        """Add the environment, and hand the scratch folder to the job's user."""
        if environment:
            furnishing = self._furnishings.get(environment)
            if furnishing is None:
                furnishing = self._furnishings[environment] = Furnishing.of(environment)
            furnishing.put_into(folder.at.scratch)
        if folder.user:
            isolation.share(folder.checkpoint)
            isolation.give(folder.scratch, folder.user)
            isolation.let_read(folder.checkpoint, folder.user)

    def reclaim(self, folder: JobFolder) -> None:
        """Take the scratch folder back from the job's user, once none of its processes runs."""
        if folder.user:
            isolation.take_back(folder.scratch, folder.user)

    def remove(self, folder: JobFolder) -> None:
        """Remove everything of a job, whatever it did to its own permissions.

        What cannot be removed is moved aside, and its user's number is not reused meanwhile.
        """
        self._left_over.remove(folder.place, folder.user)

    def sweep(self) -> None:
        """Try again to remove what was moved aside; call this when the agent leaves."""
        self._left_over.sweep()


def _make_private(folder: str) -> None:
    os.mkdir(folder)  # noqa: PTH102
    os.chmod(folder, 0o711)  # noqa: PTH101, S103 - whatever the umask; it must not be listable


def _make_listed(folder: JobFolder) -> None:
    """Create the folders of a non-plain job's files, and their list."""
    for path in folder.inputs:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    folder.listing.write_text("".join(f"{path}\n" for path in folder.inputs), encoding="utf-8")
