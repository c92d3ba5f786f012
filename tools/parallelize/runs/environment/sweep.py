"""Deletes contents that no run names any more, while other runs may begin to name them.

A content is withdrawn first: copied aside, and removed from its place, both only in the version
that was listed. Then all lists are read once more. If a run names it by now, it is put back, as a
new version; then the copy is deleted. A run that names it later finds it missing, and sends it.
`docs/protocol.md` says why this is enough; `tests/model/test_stored_once.py` tries it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from parallelize.console import escape
from parallelize.context import Context
from parallelize.runs.inputs.sweep_inputs import sweep_inputs
from parallelize.units import plural
from parallelize_core import contents
from parallelize_core.contents import Contents
from parallelize_core.errors import AccessError, DecodeError, MissingError
from parallelize_core.file_list import Listed, read_list
from parallelize_core.layout import RUN_NAME, Location, RunLayout, shared_by_runs
from parallelize_core.store import IF_ABSENT, Source, Store


@dataclass(frozen=True)
class _Version:
    """A version of a content that no run seemed to name."""

    sha256: str
    etag: str


def sweep_shared(context: Context) -> None:
    """Sweep below the context's place, and say what was deleted, or why it stays.

    A user who may not read other runs cannot know what these name.
    """
    for what, sweep_these in (("file", sweep), ("input", sweep_inputs)):
        try:
            gone = sweep_these(context.store, context.base)
        except (AccessError, DecodeError) as error:
            why = escape(error.what)
            context.tell(f"shared {what}s stay: other runs may need them ({why})")
            continue
        if gone:
            count = plural(gone, f"shared {what}")
            context.tell(f"deleted {count} that no run uses any more")


def sweep(store: Store, base: Location) -> int:
    """Delete the contents below `base` that no run names; return how many.

    It also finishes an interrupted sweep. Raises DecodeError, before anything is deleted, for a
    list that cannot be read: it may name anything.
    """
    there = Contents(shared_by_runs(base))
    left = [*_withdrawn(store, there)]
    listed = [*_listed(store, there)]
    if not (left or listed):
        return 0
    named = _named(store, base)
    chosen = [one for one in listed if one.sha256 not in named]
    for one in chosen:
        source = Source(store.bucket, there.key(one.sha256), one.etag)
        store.copy_from(source, there.withdrawn_key(one.sha256, one.etag))
    taken = dict.fromkeys([*left, *chosen])
    # Also those that others have withdrawn: none is in its place any more when the lists are read.
    for one in taken:
        store.delete_version(there.key(one.sha256), one.etag)
    return _settle(store, base, there, taken) if taken else 0


def _settle(store: Store, base: Location, there: Contents, taken: Iterable[_Version]) -> int:
    """Put back what is named by now, and delete the copies; return how many contents are gone."""
    named = _named(store, base)
    gone = 0
    for one in taken:
        aside = there.withdrawn_key(one.sha256, one.etag)
        if one.sha256 not in named:
            gone += 1
        elif not _put_back(store, there, named[one.sha256], aside):
            continue  # it does not match its name: keep it for a person to look at
        store.delete([aside])
    return gone


def _put_back(store: Store, there: Contents, file: Listed, aside: str) -> bool:
    """Store a content again, as a new version; return whether it is there."""
    # Not by a copy: that would restore the version that another sweep may be about to delete.
    with tempfile.TemporaryDirectory(prefix="parallelize-") as folder:
        packed, content = Path(folder, "packed"), Path(folder, "content")
        try:
            store.get_file(aside, packed)
            contents.unpack(packed, content, file)
        except MissingError:
            return True  # another sweep has put it back
        except DecodeError:
            return False
        contents.send(store, there.key(file.sha256), content, packed, IF_ABSENT)
    return True


def _listed(store: Store, there: Contents) -> Iterator[_Version]:
    for item in store.list(there.all.prefix):
        yield _Version(there.all.relative(item.key).removesuffix(".gz"), item.etag)


def _withdrawn(store: Store, there: Contents) -> Iterator[_Version]:
    for item in store.list(there.withdrawn.prefix):
        sha256, _, etag = there.withdrawn.relative(item.key).removesuffix(".gz").partition("/")
        yield _Version(sha256, etag)


def _named(store: Store, base: Location) -> dict[str, Listed]:
    """Return what the lists of all runs name, by checksum."""
    named: dict[str, Listed] = {}
    for name in store.folders(base.key("runs", "")):
        if RUN_NAME.fullmatch(name):
            for item in store.list(RunLayout(base, name).file_lists.prefix):
                named |= _contents_of(store, item.key)
    return named


def _contents_of(store: Store, key: str) -> dict[str, Listed]:
    try:
        return read_list(store.get(key)).contents
    except MissingError:
        return {}  # its run was deleted meanwhile
