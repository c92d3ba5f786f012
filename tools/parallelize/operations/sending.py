"""Sends the inputs of a plan, and updates the jobs' lines with what S3 has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from parallelize.context import Context
from parallelize.operations.prep_plan import Plan, distinct
from parallelize.progress import progress
from parallelize.runs.files.uploads import Outgoing, Stored, Uploads, spooled_uploads
from parallelize.runs.inputs.shared_inputs import SharedInputs
from parallelize.runs.jobs.plan import Entries, with_files
from parallelize.spool import Row, Spooled, Table
from parallelize_core.files import InputFile
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Entry, add_corrections
from parallelize_core.store import Store


class Sent:
    """What S3 has of the inputs that were missing there, and how much of it was sent."""

    def __init__(self, place: Location | None = None) -> None:
        self.files = self.bytes = 0
        self._place = place
        self._versions = Table()

    def add(self, file: Stored) -> None:
        """Add a file that was sent."""
        self.files += 1
        self.bytes += file.size
        # Shared inputs are found by their contents, those of a run of its own by their names.
        stored = self._place.relative(file.key) if self._place else ""
        self._versions.put(file.sha256 or file.name, (file.size, file.etag, stored))

    def keep(self, version: InputFile) -> None:
        """Add a file that another run has sent."""
        row = (version.size, version.etag, version.stored)
        self._versions.add(version.checksum, row)

    def version_of(self, file: InputFile) -> InputFile:
        """Return the version of a file that S3 has, or the same if it has not been asked."""
        row = self._versions.get(file.checksum if self._place else file.key)
        return file if row is None else file.model_copy(update=_as_update(row))

    def job_of(self, entry: Entry) -> Entry:
        """Return a job with the versions of its files that S3 has."""
        if entry.files is not None:
            return with_files(entry, [self.version_of(file) for file in entry.files])
        checksum = entry.stored.partition("/")[0] or entry.sha256
        row = self._versions.get(checksum if self._place else entry.key)
        if row is None:
            return entry
        if entry.plain:  # a million of them are made, and copying takes longer
            size, etag, stored = row
            return Entry(key=entry.key, size=size, etag=etag, stored=stored)
        return entry.model_copy(update=_as_update(row))


def _as_update(row: Row) -> dict[str, object]:
    size, etag, stored = row
    return {"size": size, "etag": etag, "stored": stored, "sha256": ""}


def send_inputs(context: Context, plan: Plan) -> Sent:
    """Send the inputs that are not in S3, and show the progress."""
    if plan.draft.run.shares_inputs:
        return _send_shared(context, plan)
    sent = Sent()
    uploads = spooled_uploads(plan.uploads)
    _send(context, uploads, len(uploads), sent)
    return sent


def _send_shared(context: Context, plan: Plan) -> Sent:
    shared = SharedInputs(context.store, context.base)
    sent = Sent(shared.place)
    lost = _borrow(context, shared, plan, sent)
    chosen = distinct(chain(plan.uploads, lost)) if lost else plan.sent
    going = (replace(one, key=shared.new_key(one.sha256)) for one in chosen)
    _send(context, going, len(chosen), sent)
    return sent


def _borrow(context: Context, shared: SharedInputs, plan: Plan, sent: Sent) -> Spooled[Outgoing]:
    """Name what the run will have; keep what stays, and return what has to be sent after all."""
    wanted = Table(one.file.sha256 for one in plan.borrowed)
    named = Table(chain(wanted, (one.sha256 for one in plan.uploads)))
    held = shared.hold(context.layout, named, wanted)
    lost = spooled_uploads()
    for one in plan.borrowed:
        if shared.place.key(one.version.stored) in held:
            sent.keep(one.version)
        else:
            lost.append(one.file)
    return lost


def _send(context: Context, files: Iterable[Outgoing], count: int, sent: Sent) -> None:
    """Upload `count` files, many at once; add to `sent` what S3 has of each."""
    if not count:
        return
    with progress("uploaded", count) as step:

        def told(file: Stored) -> None:
            sent.add(file)
            step(file.size)

        context.transfer(context.bucket, lambda store: Uploads(store, told).send(files))


def with_stored(entries: Iterable[Entry], sent: Sent) -> Iterable[Entry]:
    """Take S3's values: with KMS, its ETag differs from the one that we computed."""
    if isinstance(entries, Entries):
        return entries.renewed(sent.version_of)
    return _StoredEntries(entries, sent)


@dataclass(frozen=True)
class _StoredEntries:
    """Entries with what S3 has of their files, made each time that they are gone through."""

    entries: Iterable[Entry]
    sent: Sent

    def __iter__(self) -> Iterator[Entry]:
        return map(self.sent.job_of, self.entries)


def correct_manifest(store: Store, layout: RunLayout, plan: Plan, sent: Sent) -> None:
    """Correct the lines of jobs whose inputs have changed, or are elsewhere than they say."""
    moved = ((sent.job_of(old), old) for old in plan.moved.entries())
    corrected = map(sent.job_of, plan.corrected.entries())
    add_corrections(store, layout, chain(corrected, (now for now, old in moved if now != old)))
