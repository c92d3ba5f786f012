"""What a sweep of shared contents does with what it cannot read."""

from __future__ import annotations

import pytest

from parallelize.runs.environment.sweep import sweep
from parallelize_core.contents import Contents
from parallelize_core.errors import DecodeError
from parallelize_core.file_list import FileList, Listed
from parallelize_core.layout import Location, RunLayout, shared_by_runs
from parallelize_core.testing import InMemoryStore

BASE = Location("bucket", "p/")
SHARED = Contents(shared_by_runs(BASE))
KEY = SHARED.key("0" * 64)


def test_a_list_that_cannot_be_read_may_name_anything_so_all_stays() -> None:
    store = InMemoryStore()
    store.put(KEY, b"content")
    store.put(RunLayout(BASE, "later").file_list("1" * 64), b"of a later version")
    with pytest.raises(DecodeError):
        sweep(store, BASE)
    assert store.head(KEY)


def test_a_copy_that_is_not_what_it_is_called_is_not_put_back() -> None:
    store = InMemoryStore()
    aside = SHARED.withdrawn_key("0" * 64, "etag")
    store.put(aside, b"something else")
    files = FileList.of([Listed(name="a", size=1, sha256="0" * 64)])
    store.put(RunLayout(BASE, "r").file_list(files.identity), files.pack())
    assert sweep(store, BASE) == 0
    assert store.head(KEY) is None
    assert store.head(aside)
