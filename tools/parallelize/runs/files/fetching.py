"""Fetching outputs into a folder, many at a time: one GET each, and only correct files appear.

Threads check the folder and write, a group of small files at a time; the event loop does the rest.

A folder can hold the outputs whose names stay inside it, and that its disk can tell apart.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from parallelize.console import escape
from parallelize.progress import progress
from parallelize.runs.files.download_record import RECORD, DownloadRecord
from parallelize.runs.files.known_contents import KnownContents
from parallelize.runs.files.twins import folded, folders_of
from parallelize.spool import Hashes, Spooled
from parallelize.transfers import LARGE_AT_ONCE, ByteBudget, DiskThreads, groups
from parallelize.wire import Pace, in_flight
from parallelize_core import keys
from parallelize_core.errors import ChangedError, MissingError, ParallelizeError, UsageError
from parallelize_core.layout import Location
from parallelize_core.parts import PART_BYTES
from parallelize_core.result import Output
from parallelize_core.store import AsyncStore
from parallelize_core.transport.sinks import write_all

FOLDERS_KEPT = 10_000
"""Folders of which it is remembered where they lead."""


@dataclass(frozen=True)
class Refusal:
    """An output that was not written, and why."""

    key: str
    why: str
    redo: str = ""
    """The input whose job should be done again; empty if that would not help."""


def refusals(
    outputs: Iterable[Output], folder: Path, *, one_case: bool, one_form: bool = False
) -> list[Refusal]:
    """Say which outputs cannot be written below `folder`.

    `one_case`: the disk takes `a` and `A` for one name. `one_form`: it takes the two spellings of
    an accented letter for one. The outputs are gone through twice.
    """

    def fold(name: str) -> str:
        return folded(name, one_case=one_case, one_form=one_form)

    root = folder.resolve()

    @lru_cache(FOLDERS_KEPT)
    def is_inside(parent: str) -> bool:
        return (root / parent).resolve().is_relative_to(root)

    refused: dict[str, str] = {}
    names, folders = Hashes(), Hashes()
    for output in outputs:
        name = output.key
        parent = name.rpartition("/")[0]
        names.add(fold(name))
        for folder_of_it in folders_of(name):
            folders.add(fold(folder_of_it))
        if why := keys.refusal(name):
            refused[name] = why
        elif fold(name) == RECORD:
            refused[name] = "the record of downloads has this name"
        elif not is_inside(parent):
            refused[name] = leads_out(folder)
    doubtful = names.repeated() | names.common(folders)
    if doubtful:
        refused = _indistinct(outputs, fold, doubtful) | refused
    return [Refusal(name, refused[name]) for name in sorted(refused)]


def _indistinct(
    outputs: Iterable[Output], fold: Callable[[str], str], doubtful: set[int]
) -> dict[str, str]:
    """Say why of some outputs, the hashes of whose names are doubtful, not all can be written."""
    names: set[str] = set()
    folders: set[str] = set()
    for output in outputs:
        folds = map(fold, folders_of(output.key))
        folders.update(folder for folder in folds if hash(folder) in doubtful)
        if hash(fold(output.key)) in doubtful:
            names.add(output.key)
    taken: dict[str, str] = {}
    refused = {}
    for name in sorted(names):
        twin = taken.setdefault(fold(name), name)
        if twin != name:
            refused[name] = f"this disk cannot tell it from {escape(twin)}"
        elif fold(name) in folders:
            refused[name] = "another output needs a folder of this name"
    return refused


def leads_out(folder: Path) -> str:
    """Say why an output is not written through a link."""
    return f"a link in {escape(str(folder))} leads out of it"


COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"
"""The same letter as one character and as two."""


def merges(folder: Path, here: str, there: str) -> bool:
    """Whether the disk takes two names for one; tested in the nearest existing folder."""
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    try:
        with tempfile.NamedTemporaryFile(prefix=f".parallelize-{here}", dir=existing) as probe:
            return Path(probe.name.replace(f"-{here}", f"-{there}")).exists()
    except OSError as error:
        raise unwritable(folder, error) from None


def unwritable(folder: Path, error: OSError) -> UsageError:
    """Return the error for a folder that cannot be written to."""
    return UsageError(
        f"outputs cannot be written to {escape(str(folder))}", error.strerror, "give another folder"
    )


NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a disk that will not take any other output either."""

Outcome = bool | Refusal
"""Whether an output was fetched, not merely there already; or why it is missing."""


@dataclass
class _Job:
    """An output in progress: its content while it is in memory, its file, and its outcome."""

    output: Output
    content: bytes | None = None
    partial: Path | None = None
    outcome: Outcome | None = None


@dataclass
class Fetcher:
    """Fetches outputs below `location` into the folder of `record`, through `partial` in there."""

    store: AsyncStore
    location: Location
    record: DownloadRecord
    partial: Path
    mode: int
    """The permissions of a new file."""
    known: KnownContents
    full: list[str] = field(default_factory=list)
    """What to say of everything missing once the disk is full; the rest is not tried."""
    replaced: list[tuple[str, str]] = field(default_factory=list)
    """The outputs of other runs that were replaced: the run, and the name."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _folders: set[Path] = field(default_factory=set)

    async def fetch_all(
        self, outputs: Spooled[Output] | Sequence[Output]
    ) -> tuple[int, tuple[Refusal, ...]]:
        """Fetch many at once; return how many were fetched, and what went wrong."""
        if not outputs:
            return 0, ()
        self._budget, self._pace = ByteBudget(), Pace()
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        fetched, broken = 0, dict[str, Refusal]()
        with (
            progress("downloaded", len(outputs)) as step,
            DiskThreads() as self._disk,
        ):

            async def fetch(group: Sequence[Output]) -> None:
                nonlocal fetched
                for job in await self._fetch_group(group):
                    if isinstance(job.outcome, Refusal):
                        broken[job.output.key] = job.outcome
                    else:
                        fetched += bool(job.outcome)
                        step(job.output.size)

            await in_flight(fetch, groups(outputs, lambda output: output.size))
        return fetched, tuple(broken[output.key] for output in outputs if output.key in broken)

    async def _fetch_group(self, group: Sequence[Output]) -> list[_Job]:
        jobs = [_Job(output) for output in group]
        size = sum(output.size for output in group)
        await self._disk.run(lambda: self._try_all(jobs, self._look), size)
        missing = [job for job in jobs if job.outcome is None]
        if missing and group[0].size >= PART_BYTES:
            async with self._large:
                await self._fetch_large(missing[0])
        elif missing:
            await self._fetch_small(missing)
        return jobs

    async def _fetch_small(self, jobs: Sequence[_Job]) -> None:
        size = sum(job.output.size for job in jobs)
        await self._budget.take(size)
        try:
            await self._pace.each(self._try_to_get, jobs)
            await self._disk.run(lambda: self._place_all(jobs, self._write), size)
        finally:
            await self._budget.give_back(size)

    async def _try_to_get(self, job: _Job) -> None:
        output = job.output
        if self.full:
            job.outcome = Refusal(output.key, self.full[0])
            return
        try:
            place = self.location.key(output.key)
            job.content = await self.store.get_within(place, output.size, output.etag)
        except (ParallelizeError, OSError) as error:
            job.outcome = self._refusal(output, error)

    async def _fetch_large(self, job: _Job) -> None:
        output = job.output
        job.partial = partial = self._partial()
        if self.full:
            job.outcome = Refusal(output.key, self.full[0])
            return
        try:
            place = self.location.key(output.key)
            await self.store.get_file(place, partial, output.etag, output.size, output.sha256)
        except (ParallelizeError, OSError) as error:
            job.outcome = self._refusal(output, error)
            return

        def check(job: _Job) -> Outcome | None:
            partial.chmod(self.mode)
            return self._check(job.output, partial.stat().st_size, output.sha256)

        await self._disk.run(lambda: self._place_all([job], check), output.size)

    # Runs in threads.

    def _try_all(self, jobs: Sequence[_Job], do: Callable[[_Job], Outcome | None]) -> None:
        """Apply `do` to each output that has no outcome yet."""
        for job in jobs:
            try:
                job.outcome = do(job) if job.outcome is None else job.outcome
            except (ParallelizeError, OSError) as error:
                job.outcome = self._refusal(job.output, error)

    def _look(self, job: _Job) -> Outcome | None:
        """Return False if it is already there, None if it has to be fetched.

        Raises UsageError if something else is in its place.
        """
        target = self.record.folder / job.output.key
        if os.path.lexists(target) and is_there(target, job.output, self.known):
            return False
        if why := self.record.refusal(job.output.key):
            raise UsageError(why)
        return Refusal(job.output.key, self.full[0]) if self.full else None

    def _place_all(self, jobs: Sequence[_Job], check: Callable[[_Job], Outcome | None]) -> None:
        """Give complete and correct files their names, of those that `check` does not refuse."""
        self._try_all(jobs, check)
        left = [job for job in jobs if job.outcome is None]
        if not left:
            return
        try:
            self.record.note([(job.output.key, job.output.sha256) for job in left])
        except OSError as error:
            for job in left:
                job.outcome = self._refusal(job.output, error)
        self._try_all(left, self._put)

    def _put(self, job: _Job) -> bool:
        if job.partial is None:
            raise AssertionError("nothing was written")
        job.partial.replace(self.record.folder / job.output.key)
        return True

    def _write(self, job: _Job) -> Outcome | None:
        job.partial, content = self._partial(), job.content
        if content is None:
            raise _changed()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(job.partial, flags, self.mode)
        try:
            write_all(descriptor, content, 0)
        finally:
            os.close(descriptor)
        return self._check(job.output, len(content), hashlib.sha256(content).hexdigest())

    def _check(self, output: Output, size: int, sha256: str) -> Outcome | None:
        """Return None if a file may get its name, True if it is there by now.

        Raises ChangedError if it is not the output, UsageError if its place is taken.
        """
        if (size, sha256) != (output.size, output.sha256):
            raise _changed()
        target = self.record.folder / output.key
        if target.parent not in self._folders:
            self._make_folder(target.parent)
        # It was free when the download began; somebody may have written there since.
        if why := self.record.refusal(output.key):
            if is_there(target, output, self.known):
                return True
            raise UsageError(why)
        if other := self.record.of_another_run(output.key):
            self.replaced.append((other, output.key))
        return None

    def _make_folder(self, folder: Path) -> None:
        root = self.record.folder.resolve()
        if not folder.resolve().is_relative_to(root):
            raise UsageError(leads_out(self.record.folder))
        folder.mkdir(parents=True, exist_ok=True)
        self._folders.add(folder)

    def _partial(self) -> Path:
        return self.partial / str(next(self._numbers))

    def _refusal(self, output: Output, error: ParallelizeError | OSError) -> Refusal:
        if isinstance(error, MissingError | ChangedError):
            return Refusal(output.key, error.what, redo=output.key)
        if isinstance(error, ParallelizeError):
            return Refusal(output.key, error.what)
        why = error.strerror or str(error)
        if error.errno in NO_ROOM:
            why += "; free some space, then the same command fetches the rest"
            self.full.append(why)
        return Refusal(output.key, why)


def is_there(target: Path, output: Output, known: KnownContents) -> bool:
    """Whether a file is this output."""
    if target.is_symlink() or not target.is_file() or target.stat().st_size != output.size:
        return False
    return known.read(target).sha256 == output.sha256


def _changed() -> ChangedError:
    return ChangedError("it is not what its job wrote (size or checksum differ)")
