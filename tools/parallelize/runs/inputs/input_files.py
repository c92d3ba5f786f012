"""A run's files as they are now, compared with what S3 has of them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import chain, groupby
from typing import NamedTuple

from parallelize.bulk import head_each
from parallelize.console import shown
from parallelize.context import Context
from parallelize.runs.files.known_contents import known_contents
from parallelize.runs.files.uploads import Outgoing
from parallelize.runs.inputs.input_rules import rules_of
from parallelize.runs.inputs.local_inputs import Inputs, LocalInput, Refused
from parallelize.runs.inputs.others_buckets import reading
from parallelize.runs.inputs.remote_inputs import (
    entry_of_row,
    entry_row,
    find_remote,
    is_chained,
    select,
)
from parallelize.runs.inputs.shared_inputs import (
    Borrowed,
    KnownFile,
    SharedInputs,
    read_contents,
    shared_files,
)
from parallelize.spool import Spooled, Table, batches
from parallelize.transfers import Fingerprint, holds, in_parallel
from parallelize_core.errors import UsageError
from parallelize_core.files import InputFile, files_of
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Entry
from parallelize_core.store import ObjectInfo, Store

AUTO = "auto"

LOOKED_UP = 1000
"""Named objects that are looked up at a time."""


class InputFiles(NamedTuple):
    """Files with their versions: `uploads` have to be sent, others may be `borrowed`."""

    wanted: Spooled[Entry] | tuple[Entry, ...]
    borrowed: Spooled[Borrowed] | tuple[Borrowed, ...] = ()
    uploads: Spooled[Outgoing] | tuple[Outgoing, ...] = ()
    left_out: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    unfinished: str = ""
    """A remark about the run whose outputs they are, if it may produce more."""

    @property
    def names(self) -> Iterable[str]:
        """The keys of the files."""
        if isinstance(self.wanted, Spooled):
            return self.wanted.firsts()
        return (entry.key for entry in self.wanted)

    def versions(self) -> Iterator[InputFile]:
        """Go through the files."""
        return (file for entry in self.wanted for file in files_of(entry))

    def moved(self, known: Container[str]) -> Table:
        """Return which files of the manifest will no longer be where it says."""
        names = chain((o.version.key for o in self.borrowed), (one.name for one in self.uploads))
        return Table(name for name in names if name in known)


def remote_location(context: Context) -> Location:
    """Return the location of inputs that are already in S3."""
    if not is_chained(context.settings.run.inputs):
        return select(context).location
    from parallelize.runs.inputs.chained import location  # noqa: PLC0415 - few runs are chained

    return location(context)


def remote_files(context: Context) -> InputFiles:
    """List the inputs that are already in S3."""
    rules = rules_of(context, None)
    if is_chained(context.settings.run.inputs):
        from parallelize.runs.inputs.chained import chained_files  # noqa: PLC0415 - see above

        found, told = chained_files(context, rules)
        return InputFiles(found.entries, (), (), found.left_out, found.refused, told)
    chosen = select(context)
    store = context.store_of(chosen.location.bucket)
    with reading(context, store.bucket):
        there = find_remote(store, chosen, rules)
    return InputFiles(there.entries, (), (), there.left_out, there.refused)


def local_files(
    store: Store, layout: RunLayout, found: Inputs, known: KnownFile, *, etags: bool
) -> InputFiles:
    """Compare files of this machine with those that runs share; `known` are the manifest's.

    `etags` says whether new files need theirs before S3 has them.
    """
    if not found:
        return InputFiles(())
    files = shared_files(SharedInputs(store, layout.base), found, known, etags=etags)
    wanted = files.versions.as_other(entry_row, entry_of_row)
    return InputFiles(wanted, files.borrowed, files.uploads)


def files_of_its_own(
    store: Store, layout: RunLayout, found: Inputs, known: Container[str]
) -> InputFiles:
    """Compare files of this machine with what a run of an earlier version has sent.

    `known` files need ETags even if they were never sent.
    """
    if not found:
        return InputFiles(())
    there_now = {layout.input.relative(i.key): i for i in store.list(layout.input.prefix)}
    compared = [item for item in found if item.key in there_now or item.key in known]
    with known_contents() as memory:
        contents = read_contents(memory, compared, etags=True)
    held = _held(store, there_now, contents)
    wanted = tuple(_entry(item, contents.get(item.key), held.get(item.key)) for item in found)
    uploads = tuple(
        Outgoing(item.key, item.path, layout.input.key(item.key), item.size)
        for item in found
        if item.key not in held
    )
    return InputFiles(wanted, (), uploads)


def named_objects(
    context: Context, names: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, InputFile]]:
    """Look up objects by their full names, each with the place that names it.

    Raises UsageError, which names that place, for an object that does not exist.
    """
    first = Table()
    for name, where in names:
        first.add(name, (where,))

    def place(name: str) -> tuple[str, str]:
        bucket, key = InputFile(key=name, size=0).place(Location(""))
        return context.bucket if bucket == AUTO else bucket, key

    for bucket, some in groupby(first, lambda name: place(name)[0]):
        for batch in batches(some, LOOKED_UP):
            with reading(context, bucket):
                keys = [place(name)[1] for name in batch]
                heads = [*head_each(context.store_of(bucket), keys)]
            for name, there in zip(batch, heads, strict=True):
                if there is None:
                    (where,) = first.get(name) or ("",)
                    raise UsageError(
                        f"there is no object {shown(name, 60)}", f"{where} names it",
                        "check its name; nothing was sent",
                    )  # fmt: skip
                key = f"s3://{bucket}/{there.key}"
                yield name, InputFile(key=key, size=there.size, etag=there.etag)


def _held(
    store: Store, there: Mapping[str, ObjectInfo], contents: Mapping[str, Fingerprint]
) -> dict[str, ObjectInfo]:
    """Return the objects of those files that need not be sent."""

    def compare(key: str) -> tuple[str, ObjectInfo] | None:
        found = there.get(key)
        return (key, found) if found and holds(store, found, contents[key]) else None

    return dict(pair for pair in in_parallel(compare, contents) if pair is not None)


def _entry(item: LocalInput, content: Fingerprint | None, held: ObjectInfo | None) -> Entry:
    """Return the input as it will be; a file that was never sent gets its ETag once S3 has it."""
    known = held or content
    if known is None:
        return Entry(key=item.key, size=item.size, etag="")
    return Entry(key=item.key, size=known.size, etag=known.etag)
