"""Deletes shared inputs that no run names any more, while other runs may begin to name them.

An upload is marked as doomed first; then all lists are read once more, and the upload is deleted if
none names its content. A run that names it later looks for marks after that, finds this one, and
sends the content as a new upload. A mark is deleted only after its upload. `docs/protocol.md` says
why this is enough; `tests/model/test_shared_inputs.py` tries it.
"""

from __future__ import annotations

from collections.abc import Iterable

from parallelize.runs.inputs.shared_inputs import SharedInputs, read_names
from parallelize.transfers import in_parallel
from parallelize_core.errors import MissingError
from parallelize_core.layout import RUN_NAME, Location, RunLayout
from parallelize_core.store import Store


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
    chosen = {one for one in there - marked if _content(one) not in named}
    list(in_parallel(lambda one: store.put(shared.doomed.key(one), b""), chosen))
    _delete_marks(shared, marked - there)
    return _settle(shared, chosen | (marked & there))


def _settle(shared: SharedInputs, doomed: Iterable[str]) -> int:
    """Delete what is doomed and still not named; return how many uploads that was."""
    doomed = list(doomed)
    if not doomed:
        return 0
    named = read_named(shared.store, shared.base)
    # Named uploads stay marked: another sweep may not have read the lists yet.
    going = [one for one in doomed if _content(one) not in named]
    shared.store.delete(shared.place.key(one) for one in going)
    _delete_marks(shared, going)
    return len(going)


def _delete_marks(shared: SharedInputs, doomed: Iterable[str]) -> None:
    shared.store.delete(shared.doomed.key(one) for one in doomed)


def read_named(store: Store, base: Location) -> set[str]:
    """Return the contents that the lists of all runs name."""
    names = (name for name in store.folders(base.key("runs", "")) if RUN_NAME.fullmatch(name))
    return set().union(*in_parallel(lambda name: _named_by(store, RunLayout(base, name)), names))


def _named_by(store: Store, layout: RunLayout) -> set[str]:
    named: set[str] = set()
    for item in store.list(layout.named.prefix):
        try:
            named.update(read_names(store.get(item.key)))
        except MissingError:
            continue  # its run was deleted meanwhile
    return named


def _content(upload: str) -> str:
    return upload.partition("/")[0]


def _below(store: Store, place: Location) -> set[str]:
    return {place.relative(item.key) for item in store.list(place.prefix)}
