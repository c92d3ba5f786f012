"""Listings and many small objects over the loop, from a server on loopback."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.bench.small_cloud.process import REGION, small_cloud
from tests.functional.local.helpers import until

from parallelize.bulk import WireStore, get_each, head_each, list_all, list_each, try_each
from parallelize.together import MAX_UNASKED_BYTES, Together
from parallelize.wire import Wire
from parallelize_core.async_clients import AsyncClients
from parallelize_core.clients import Clients, make_session
from parallelize_core.errors import MissingError, ThrottledError, UnavailableError, UsageError
from parallelize_core.s3 import AsyncS3Store
from parallelize_core.store import IF_ABSENT, Condition, ObjectInfo, Store
from parallelize_core.testing import InMemoryStore
from parallelize_core.transport.plain import Plain

COUNT = 2500
"""Three pages."""


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with small_cloud() as cloud:
        for name, value in cloud.environ.items():
            monkeypatch.setenv(name, value)
        cloud.put("bucket", "other/x", b"")
        session = make_session(REGION)
        yield Wire(lambda: session)


@pytest.fixture
def store(wire: Wire) -> WireStore:
    made = WireStore("bucket", lambda: Clients.make(make_session(REGION)).store("bucket"), wire)
    wire.run(lambda clients: _fill(clients.store("bucket")))
    return made


@pytest.fixture(params=[True, False], ids=["over the loop", "by boto3"])
def single(request: pytest.FixtureRequest, store: WireStore) -> WireStore:
    """The bucket as commands have it with plain settings, and with any others."""
    plain = Plain.of(dict(os.environ), REGION) if request.param else None
    assert bool(plain) is request.param
    wire = Wire(lambda: make_session(REGION), plain=plain)
    assert wire.is_quick is request.param
    return WireStore("bucket", lambda: Clients.make(make_session(REGION)).store("bucket"), wire)


def test_single_calls_do_the_same_over_the_loop_as_by_boto3(
    single: WireStore, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with (tmp_path / "file").open("rb") as file:
        etag = single.put_file("one/file", file, metadata={"sha256": "x"})
    assert single.put("one/more", b"", IF_ABSENT)
    assert single.put("one/more", b"", IF_ABSENT) is None
    there = single.head("one/file")
    assert there is not None
    assert (there.size, there.etag, there.metadata) == (7, etag, {"sha256": "x"})
    assert single.head("one/nothing") is None
    assert single.get("one/file") == b"content"
    assert single.get_file("one/file", tmp_path / "copy") == 7
    with pytest.raises(MissingError):
        single.get("one/nothing")
    assert [bool(found) for found in head_each(single, ["one/file", "none", "in/00000"])] == [
        True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("single", [True], indirect=True, ids=["over the loop"])
def test_single_calls_that_are_throttled_are_repeated_as_by_boto3(
    single: WireStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallelize_core.outlast.pauses", lambda: [0.0] * 8)
    refusals = [ThrottledError("too often")] * 6
    get = AsyncS3Store.get

    async def get_late(store: AsyncS3Store, key: str) -> bytes:
        if len(refusals) > 3:
            raise refusals.pop()
        return await get(store, key)

    async def ask(clients: AsyncClients, parameters: dict[str, object]) -> dict[str, object]:
        if refusals:
            raise refusals.pop()
        return parameters

    monkeypatch.setattr(AsyncS3Store, "get", get_late)
    assert single.get("in/00003") == b"3"
    assert single._wire.client({"ask": ask}, pytest.fail).ask(Name="queue") == {"Name": "queue"}
    assert refusals == []


def test_a_call_from_another_thread_is_made_by_boto3(single: WireStore) -> None:
    with ThreadPoolExecutor() as pool:
        assert pool.submit(lambda: single._wire.is_quick).result() is False
        assert pool.submit(single.get, "in/00003").result() == b"3"


def test_a_call_from_a_running_loop_is_made_by_boto3(single: WireStore) -> None:
    async def read() -> bytes:
        return single.get("in/00003")

    assert asyncio.run(read()) == b"3"


async def _fill(store) -> None:  # type: ignore[no-untyped-def]
    for number in range(COUNT):
        await store.put(f"in/{number:05}", str(number).encode())


@pytest.mark.parametrize("splits", [0, 1, 5, 40])
def test_each_key_of_a_listing_comes_once_however_it_is_split(
    store: WireStore, splits: int
) -> None:
    keys = [f"in/{number:05}" for number in range(COUNT)]
    points = [*random.Random(splits).sample(keys, splits), "in/", "in/zzz", "elsewhere"]
    found = [info.key for info in list_each(store, "in/", points if splits else ())]
    assert sorted(found) == keys
    assert [info.key for info in store.list("in/")] == keys


def test_many_prefixes_are_listed_at_the_same_time(
    store: WireStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()
    listed = AsyncS3Store.list

    async def all_but_the_last_wait(
        self: AsyncS3Store, prefix: str, *, folder_only: bool = False
    ) -> AsyncIterator[ObjectInfo]:
        if prefix == "in/02":
            begun.set()
        await begun.wait()
        async for info in listed(self, prefix, folder_only=folder_only):
            yield info

    monkeypatch.setattr(AsyncS3Store, "list", all_but_the_last_wait)
    found = [info.key for info in list_all(store, ["in/00", "in/nothing", "in/01", "in/02"])]
    assert found == [f"in/{number:05}" for number in range(COUNT)]


def test_what_comes_of_a_run_is_not_put_into_words(wire: Wire) -> None:
    worded = []

    class Large:
        """A page of a listing takes milliseconds."""

        def __repr__(self) -> str:
            worded.append(self)
            return "large"

    async def look(_: AsyncClients) -> Large:
        return Large()

    assert isinstance(wire.run(look), Large)
    assert not worded


def test_many_objects_come_in_their_order_and_none_for_those_that_are_not_there(
    store: WireStore,
) -> None:
    wanted = ["in/00003", "in/nothing", *(f"in/{number:05}" for number in range(200))]
    found = list(get_each(store, wanted))
    assert [key for key, _ in found] == wanted
    assert found[0][1] == b"3"
    assert found[1][1] is None
    assert [body for _, body in found[2:]] == [str(number).encode() for number in range(200)]


def test_an_object_that_does_not_come_in_time_is_told_and_harms_no_later_read(
    store: WireStore,
) -> None:
    [(key, late)] = try_each(store, ["in/00003"], 0.0)
    assert key == "in/00003"
    assert isinstance(late, UnavailableError)
    assert "no answer within 0 s" in str(late)
    wanted = ["in/00003", "in/nothing"]
    assert list(try_each(store, wanted, 60.0)) == [("in/00003", b"3"), ("in/nothing", None)]


LOOKS: dict[str, Callable[[WireStore], Iterator[object]]] = {
    "get": lambda store: store.get_each(["refused", "in/00001"]),
    "head": lambda store: store.head_each(["refused", "in/00001"]),
    "list": lambda store: store.list_all(["refused", "in/"]),
    "list_between": lambda store: store.list_each("", ["refused"]),
}


@pytest.mark.parametrize("method", LOOKS)
def test_what_was_begun_beside_a_call_that_fails_does_not_go_on(
    store: WireStore, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    ended: list[str] = []

    async def wait(key: str) -> None:
        if key == "refused":
            raise UsageError("no")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key)

    async def look(_: AsyncS3Store, key: str, *words: str) -> None:
        await wait(words[0] if words else key)

    async def pages(_: AsyncS3Store, key: str, *words: str, **__: bool) -> AsyncIterator[Any]:
        await wait(words[0] if words else key)
        yield ()

    monkeypatch.setattr(AsyncS3Store, method, pages if method.startswith("list") else look)
    with pytest.raises(UsageError):
        list(LOOKS[method](store))
    assert len(ended) == 1
    assert not asyncio.all_tasks(store._wire._runner.get_loop())


def test_a_listing_may_be_left_while_other_objects_are_read(store: WireStore) -> None:
    listing = store.list("in/")
    first = next(listing)
    assert dict(get_each(store, [first.key])) == {first.key: b"0"}
    assert len(list(listing)) == COUNT - 1


def test_a_bucket_that_does_not_exist_is_an_error_of_the_tree(store: WireStore) -> None:
    wire = Wire(lambda: make_session(REGION))
    missing = WireStore("nothing", lambda: store, wire)
    with pytest.raises(UsageError, match="does not exist"):
        list(missing.list("in/"))


class Variable:
    """Stands for a thousand results."""


def variable_of_a_caller_that_is_refused(wire: Wire) -> weakref.ref[Variable]:
    variable = Variable()
    with suppress(MissingError):
        wire.run(lambda clients: clients.store("bucket").get("no such key"))
    return weakref.ref(variable)


def test_a_refusal_keeps_no_variable_of_its_caller_until_the_next_collection(
    wire: Wire,
) -> None:
    variable_of_a_caller_that_is_refused(wire)  # the first call imports
    gc.disable()
    try:
        assert variable_of_a_caller_that_is_refused(wire)() is None
    finally:
        gc.enable()


class User:
    """Opens the session of a wire that it has, as a context does."""

    def __init__(self) -> None:
        self.session = make_session(REGION)
        self.wire = Wire(lambda: self.session)


def test_the_connections_of_a_wire_that_nobody_uses_any_more_are_closed(store: WireStore) -> None:
    """A program may call `parallelize.map` a thousand times."""
    users = [User() for _ in range(3)]
    known = [weakref.ref(user) for user in users]
    for user in users:
        user.wire.run(lambda clients: clients.store(store.bucket).get("in/00000"))
    of_a_loop = 3
    opened = len([*Path("/proc/self/fd").iterdir()])
    users.clear()
    del user

    def collected() -> bool:
        gc.collect()
        return not any(user() for user in known)

    until(collected)  # a thread may just be putting its last work aside
    assert len([*Path("/proc/self/fd").iterdir()]) <= opened - 3 * of_a_loop


@pytest.mark.parametrize("single", [True], indirect=True, ids=["over the loop"])
def test_calls_that_do_not_depend_on_each_other_are_made_when_the_first_is_needed(
    single: WireStore,
) -> None:
    single.put("one", b"1")
    calls = Together(single)
    one, none, keys = calls.get_version("one"), calls.get("none"), calls.list("in/0000")
    written, folders = calls.put("two", b"2", IF_ABSENT), calls.folders("")
    assert single.head("two") is None, "nothing is asked before"
    found = one()
    assert found is not None
    single.put("one", b"changed")
    assert (found[0], none()) == (b"1", None)
    assert one() == found, "what was read stays what it was then"
    assert single.put("one", b"over the version that was read", Condition(etag=found[1])) is None
    assert [item.key for item in keys()] == [f"in/{number:05}" for number in range(10)]
    assert (written(), [*folders()]) == (single.head("two").etag, ["in", "other"])  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [MAX_UNASKED_BYTES, MAX_UNASKED_BYTES + 1])
@pytest.mark.parametrize("over_loop", [True, False])
def test_a_new_object_is_sent_once_and_a_large_one_not_in_vain(
    store: WireStore, monkeypatch: pytest.MonkeyPatch, size: int, *, over_loop: bool
) -> None:
    sent: list[str] = []
    put = AsyncS3Store.put

    async def put_counted(store: AsyncS3Store, key: str, *given: Any) -> str | None:
        sent.append(key)
        return await put(store, key, *given)

    class Counted(InMemoryStore):
        def put(self, key: str, *given: Any) -> str | None:
            sent.append(key)
            return super().put(key, *given)

    monkeypatch.setattr(AsyncS3Store, "put", put_counted)
    used: Store = store if over_loop else Counted()
    for first in (1, 2):
        Together(used).put_new("new", bytes([first]) * size, {"sha256": "x"})()
    assert used.get("new") == b"\1" * size
    assert len(sent) == (2 if size <= MAX_UNASKED_BYTES else 1)


def test_a_long_listing_that_was_begun_is_read_to_its_end(single: WireStore) -> None:
    listed = Together(single).list("in/")
    assert len({item.key for item in listed([f"in/{COUNT // 2:05}"])}) == COUNT


def test_an_error_is_raised_where_its_answer_is_needed_and_does_not_touch_others(
    wire: Wire, single: WireStore
) -> None:
    by_boto3 = Clients.make(make_session(REGION)).store("nothing")
    missing = WireStore("nothing", lambda: by_boto3, wire)
    calls, others = Together(missing), Together(single)
    refused, one = calls.get("x"), others.get("in/00001")
    assert one() == b"1"
    for _ in range(2):
        with pytest.raises(UsageError, match="does not exist"):
            refused()


@pytest.mark.parametrize("single", [True], indirect=True, ids=["over the loop"])
def test_a_call_that_is_throttled_among_others_is_repeated_alone(
    single: WireStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallelize_core.outlast.pauses", lambda: [0.0] * 8)
    refusals = [ThrottledError("too often")] * 3
    get = AsyncS3Store.get

    async def get_late(store: AsyncS3Store, key: str) -> bytes:
        if refusals:
            raise refusals.pop()
        return await get(store, key)

    monkeypatch.setattr(AsyncS3Store, "get", get_late)
    calls = Together(single)
    answers = calls.get("in/00001"), calls.get("in/00002")
    assert [answer() for answer in answers] == [b"1", b"2"]


def test_without_a_loop_each_call_is_made_once_where_its_answer_is_needed() -> None:
    store = InMemoryStore()
    calls = Together(store)
    body, keys = calls.get_version("one"), calls.list("o")
    etag = store.put("one", b"1")
    assert body() == (b"1", etag)
    store.put("one", b"2")
    assert body() == (b"1", etag)
    assert [item.key for item in keys()] == ["one"]


class ChangingStore(InMemoryStore):
    """A bucket in which somebody writes an object between the first two reads of it."""

    reads = 0

    def head(self, key: str) -> ObjectInfo | None:
        self._read(key)
        return super().head(key)

    def get(self, key: str) -> bytes:
        self._read(key)
        return super().get(key)

    def _read(self, key: str) -> None:
        self.reads += 1
        if self.reads == 2:
            self.put(key, b"newer")


def test_without_a_loop_a_version_that_changes_during_a_look_is_not_written_over() -> None:
    store = ChangingStore()
    store.put("one", b"older")
    found = Together(store).get_version("one")()
    assert found is not None
    written = store.put("one", b"mine", Condition(etag=found[1]))
    assert (found[0], written) == (b"newer", None)
