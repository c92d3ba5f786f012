"""Sends the inputs of a plan, and updates the jobs' lines with what S3 has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from parallelize.context import Context
from parallelize.operations.prep_plan import Plan, distinct
from parallelize.progress import progress
from parallelize.runs.files.uploads import Outgoing, Stored, Uploads
from parallelize.runs.inputs.shared_inputs import Borrowed, SharedInputs
from parallelize.runs.jobs.plan import Entries, with_files
from parallelize_core.files import InputFile
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Entry, add_corrections
from parallelize_core.store import Store


@dataclass(frozen=True)
class Sent:
    """What S3 has of the inputs that were missing there, and how much of it was sent."""

    versions: Mapping[str, InputFile]
    files: int
    bytes: int


def send_inputs(context: Context, plan: Plan) -> Sent:
    """Send the inputs that are not in S3, and show the progress."""
    if plan.draft.run.shares_inputs:
        return _send_shared(context, plan)
    stored = _send(context, plan.uploads, len(plan.uploads))
    versions = {one.name: InputFile(key=one.name, size=one.size, etag=one.etag) for one in stored}
    return _sent(versions, stored)


def _send_shared(context: Context, plan: Plan) -> Sent:
    shared = SharedInputs(context.store, context.base)
    borrowed, lost = _borrow(context, shared, plan)
    uploads = [*plan.uploads, *lost]
    chosen = distinct(uploads)
    going = (replace(one, key=shared.new_key(one.sha256)) for one in chosen)
    stored = _send(context, going, len(chosen))
    there = {one.sha256: one for one in stored}
    names = {upload.name: there[upload.sha256] for upload in uploads}
    kept = {one.key: one for one in borrowed}
    return _sent(_Versions(shared.place, kept, names), stored)


@dataclass(frozen=True)
class _Versions(Mapping[str, InputFile]):
    """Inputs by their names: those that stay, and those just sent, made when asked for.

    There may be a million, and a version takes half a kilobyte.
    """

    place: Location
    kept: Mapping[str, InputFile]
    sent: Mapping[str, Stored]

    def __getitem__(self, name: str) -> InputFile:
        if (one := self.sent.get(name)) is None:
            return self.kept[name]
        stored = self.place.relative(one.key)
        return InputFile(key=name, size=one.size, etag=one.etag, stored=stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept.keys() | self.sent.keys())

    def __len__(self) -> int:
        return len(self.kept.keys() | self.sent.keys())


def _sent(versions: Mapping[str, InputFile], stored: Collection[Stored]) -> Sent:
    return Sent(versions, len(stored), sum(one.size for one in stored))


def _borrow(
    context: Context, shared: SharedInputs, plan: Plan
) -> tuple[list[InputFile], list[Outgoing]]:
    """Name what the run will have; return what stays, and what has to be sent after all."""
    wanted = {one.file.sha256 for one in plan.borrowed}
    named = wanted | {one.sha256 for one in plan.uploads}
    held = shared.hold(context.layout, named, wanted)

    def stays(one: Borrowed) -> bool:
        return shared.place.key(one.version.stored) in held

    kept = [one.version for one in plan.borrowed if stays(one)]
    return kept, [one.file for one in plan.borrowed if not stays(one)]


def _send(context: Context, files: Iterable[Outgoing], count: int) -> list[Stored]:
    """Upload `count` files, many at once; return what S3 has of each."""
    stored: list[Stored] = []
    if not count:
        return stored
    with progress("uploaded", count) as step:

        def told(file: Stored) -> None:
            stored.append(file)
            step(file.size)

        context.transfer(context.bucket, lambda store: Uploads(store, told).send(files))
    return stored


def with_stored(entries: Iterable[Entry], stored: Mapping[str, InputFile]) -> Iterable[Entry]:
    """Take S3's values: with KMS, its ETag differs from the one that we computed."""
    if isinstance(entries, Entries):
        return entries.with_versions(stored)
    return _StoredEntries(entries, stored)


@dataclass(frozen=True)
class _StoredEntries:
    """Entries with what S3 has of their files, made each time that they are gone through."""

    entries: Iterable[Entry]
    stored: Mapping[str, InputFile]

    def __iter__(self) -> Iterator[Entry]:
        return (_as_stored(entry, self.stored) for entry in self.entries)


def correct_manifest(
    store: Store, layout: RunLayout, plan: Plan, stored: Mapping[str, InputFile]
) -> None:
    """Correct the lines of jobs whose inputs have changed, or are elsewhere than they say."""
    moved = zip(with_stored(plan.moved, stored), plan.moved, strict=True)
    corrected = with_stored(plan.corrected, stored)
    add_corrections(store, layout, [*corrected, *(now for now, old in moved if now != old)])


def _as_stored(entry: Entry, stored: Mapping[str, InputFile]) -> Entry:
    """Return an entry with what S3 has of its files."""
    if entry.files is None:
        there = stored.get(entry.key)
        names = ("size", "etag", "stored", "sha256")
        return entry.model_copy(update={n: getattr(there, n) for n in names} if there else {})
    return with_files(entry, [
        stored[file.key].model_copy(update={"column": file.column}) if file.key in stored else file
        for file in entry.files
    ])  # fmt: skip
