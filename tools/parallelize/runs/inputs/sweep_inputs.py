"""Deletes shared inputs that no run names any more, while other runs may begin to name them.

An upload is marked as doomed first; then all lists are read once more, and the upload is deleted if
none names its content. A run that names it later looks for marks after that, finds this one, and
sends the content as a new upload. A mark is deleted only after its upload. `docs/protocol.md` says
why this is enough; `tests/model/test_shared_inputs.py` tries it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from parallelize.bulk import get_each
from parallelize.runs.inputs.shared_inputs import SharedInputs, read_names
from parallelize.spool import Table
from parallelize.transfers import in_parallel
from parallelize_core.layout import RUN_NAME, Location, RunLayout
from parallelize_core.store import Store

LISTS_AT_ONCE = 4
"""Lists that are read at the same time: each may have 64 MB once unpacked."""


def sweep_inputs(store: Store, base: Location) -> int:
    """Delete the shared inputs below `base` that no run names; return how many.

    It also finishes an interrupted sweep. Raises DecodeError, before anything is deleted, for a
    list that cannot be read: it may name anything.
    """
    shared = SharedInputs(store, base)
    # The marks first: a mark without a listed upload is stale, because no upload comes back.
    marked = _below(store, shared.doomed)
    there = _below(store, shared.place)
    if not (marked or there):
        return 0
    named = read_named(store, base)
    chosen = Table(one for one in there if one not in marked and _content(one) not in named)
    for _ in in_parallel(lambda one: store.put(shared.doomed.key(one), b""), chosen):
        pass
    _delete_marks(shared, (one for one in marked if one not in there))
    return _settle(shared, Table(chain(chosen, (one for one in marked if one in there))))


def _settle(shared: SharedInputs, doomed: Table) -> int:
    """Delete what is doomed and still not named; return how many uploads that was."""
    if not doomed:
        return 0
    named = read_named(shared.store, shared.base)
    # Named uploads stay marked: another sweep may not have read the lists yet.
    going = Table(one for one in doomed if _content(one) not in named)
    shared.store.delete(shared.place.key(one) for one in going)
    _delete_marks(shared, going)
    return len(going)


def _delete_marks(shared: SharedInputs, doomed: Iterable[str]) -> None:
    shared.store.delete(shared.doomed.key(one) for one in doomed)


def read_named(store: Store, base: Location) -> Table:
    """Return the contents that the lists of all runs name."""
    names = (name for name in store.folders(base.key("runs", "")) if RUN_NAME.fullmatch(name))
    lists = in_parallel(lambda name: _lists_of(store, RunLayout(base, name)), names)
    bodies = get_each(store, chain.from_iterable(lists), LISTS_AT_ONCE)
    # That of a run that was deleted meanwhile is gone.
    return Table(chain.from_iterable(read_names(body) for _, body in bodies if body is not None))


def _lists_of(store: Store, layout: RunLayout) -> list[str]:
    return [item.key for item in store.list(layout.named.prefix)]


def _content(upload: str) -> str:
    return upload.partition("/")[0]


def _below(store: Store, place: Location) -> Table:
    return Table(place.relative(item.key) for item in store.list(place.prefix))
