"""The manifest: the list of a run's inputs, and what is still missing."""

from __future__ import annotations

import contextlib
import gzip
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.core.strategies import accepted_key

from parallelize_core import manifest
from parallelize_core.errors import DecodeError
from parallelize_core.job import JobMessage
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Cursor, Entry, decode_part, encode_part
from parallelize_core.testing import InMemoryStore

entries = st.builds(
    Entry,
    key=accepted_key,
    size=st.integers(0, 2**60),
    etag=st.text("0123456789abcdef-"),
    stored=st.sampled_from(["", f"{'0a' * 32}/0mark"]),
    sha256=st.sampled_from(["", "0b" * 32]),
)
strange_entries = st.builds(
    Entry,
    key=st.sampled_from(['a"b', "a\\b", "é/\u2028", "a"]),
    size=st.just(0),
    etag=st.sampled_from(["", '"', "\\", "\n", "é"]),
    variables=st.dictionaries(st.sampled_from("xy"), st.text(), max_size=1),
    files=st.none() | st.just(()),
    number=st.none() | st.just(3),
)
"""Entries whose lines are not those of most."""
LAYOUT = RunLayout(Location("bucket"), "run")


@given(st.lists(entries))
def test_a_part_gives_back_its_entries(listed: list[Entry]) -> None:
    assert decode_part(encode_part(listed)) == tuple(listed)
    assert manifest.count_entries(encode_part(listed)) == len(listed)


def test_a_key_with_a_line_separator_of_unicode_is_still_one_line() -> None:
    listed = (Entry(key="a\u2028b\u2029c", size=1, etag="e"),)
    assert decode_part(encode_part(listed)) == listed


def test_the_same_entries_give_the_same_bytes_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [Entry(key="a", size=1, etag="e")]
    first = encode_part(listed)
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    assert encode_part(listed) == first


@given(st.binary())
@example(b"")
@example(gzip.compress(b"{}\n")[:-9] + b"\xff" * 9)
def test_garbage_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_part(body)
    with pytest.raises(DecodeError):
        manifest.count_entries(body)


@given(st.binary(min_size=1))
def test_garbage_that_is_well_packed_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_part(gzip.compress(body))


@given(st.lists(entries, min_size=1), st.data())
def test_a_part_with_a_broken_byte_is_refused_or_still_reads_the_same(
    listed: list[Entry], data: st.DataObject
) -> None:
    body = bytearray(encode_part(listed))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(DecodeError):
        assert decode_part(bytes(body)) == tuple(listed)


@given(st.lists(entries, min_size=1), st.data())
def test_a_part_that_breaks_off_is_refused(listed: list[Entry], data: st.DataObject) -> None:
    body = encode_part(listed)
    with pytest.raises(DecodeError):
        decode_part(body[: data.draw(st.integers(0, len(body) - 1))])


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"key":"../x","size":1,"etag":""}',
        b'{"key":"x","size":-1,"etag":""}',
        b'{"key":"x"}',
        b"null",
    ],
)
def test_an_entry_that_could_not_become_a_job_is_refused(line: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_part(gzip.compress(line + b"\n"))


def test_a_part_that_unpacks_to_far_more_than_a_part_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(b"\n" * (manifest.MAX_PART_BYTES + 1))
    with pytest.raises(DecodeError, match="broken"):
        decode_part(bomb)


def test_the_largest_part_that_prep_can_write_is_read_back() -> None:
    worst = Entry(key="/".join(['"' * 255] * 4), size=2**60, etag="e" * 40)
    assert len(decode_part(encode_part([worst] * manifest.PART_ENTRIES))) == manifest.PART_ENTRIES


def write_parts(store: InMemoryStore, *parts: list[str]) -> None:
    """Write parts that have been sent to the queue whole."""
    for number, part in enumerate(parts):
        listed = [Entry(key=key, size=1, etag="e") for key in part]
        store.put(LAYOUT.manifest_part(number), encode_part(listed))
        write_cursor(store, number, len(listed))


def write_cursor(store: InMemoryStore, part: int, sent: int) -> None:
    store.put(LAYOUT.cursor(part), Cursor(sent=sent).model_dump_json().encode())


def unfinished(store: InMemoryStore) -> list[str]:
    return [entry.key for entry in manifest.unfinished(store, LAYOUT)]


def test_parts_are_read_in_order_and_cursors_are_not_parts() -> None:
    store = InMemoryStore()
    write_parts(store, ["a", "b"], ["c"])
    parts = list(manifest.read_parts(store, LAYOUT))
    assert [part.number for part in parts] == [0, 1]
    assert [[entry.key for entry in part.entries] for part in parts] == [["a", "b"], ["c"]]


def test_a_job_is_unfinished_until_it_has_a_result() -> None:
    store = InMemoryStore()
    write_parts(store, ["a", "b"], ["c", "x" * 255])
    for key in ("a", "x" * 255):
        store.put(LAYOUT.result(key), b"{}")
    assert unfinished(store) == ["b", "c"]


def test_a_job_that_was_never_sent_is_not_unfinished() -> None:
    store = InMemoryStore()
    write_parts(store, ["a", "b"], ["c"])
    write_cursor(store, 0, 1)
    store.delete([LAYOUT.cursor(1)])
    assert unfinished(store) == ["a"]


def test_a_broken_cursor_is_refused_instead_of_hiding_what_was_sent() -> None:
    store = InMemoryStore()
    write_parts(store, ["a"])
    store.put(LAYOUT.cursor(0), b"{")
    with pytest.raises(DecodeError, match="Cursor"):
        unfinished(store)


def test_another_runs_results_finish_nothing() -> None:
    store = InMemoryStore()
    write_parts(store, ["a"])
    store.put(RunLayout(Location("bucket"), "run2").result("a"), b"{}")
    assert unfinished(store) == ["a"]


@given(st.lists(entries, max_size=5))
def test_messages_that_are_made_together_are_those_that_are_made_alone(
    found: list[Entry],
) -> None:
    alone = [entry.message("run-1") for entry in found]
    together = manifest.first_messages("run-1", found)
    assert [JobMessage.decode(body) for body in together] == alone
    parked = manifest.first_messages("run-1", found, claimed=True)
    assert [JobMessage.decode(body) for body in parked] == [one.parked() for one in alone]


@given(st.lists(entries | strange_entries, max_size=5), st.booleans())
def test_the_messages_of_a_part_are_those_of_its_entries(listed: list[Entry], fix: bool) -> None:
    corrected = {one.key: one.model_copy(update={"size": 7}) for one in listed if fix}
    part = encode_part(listed)
    read = manifest.read_part(0, part, "", corrected).entries
    assert manifest.part_messages("run-1", part, "", corrected) == [
        (entry.key, body)
        for entry, body in zip(read, manifest.first_messages("run-1", read), strict=True)
    ]


@pytest.mark.parametrize(
    "line",
    [
        '{"key":"../a","size":1,"etag":""}',
        '{"key":"a\\u0007","size":1,"etag":""}',
        '{"key":"a\x85","size":1,"etag":""}',
        '{"key":"","size":1,"etag":""}',
        '{"key":"a","size":01,"etag":""}',
        '{"key":"a","size":99999999999999999999,"etag":""}',
        '{"key":"a","size":1}',
        '{"key":"a","size":1,"etag":"","stored":"../a"}',
        "\udcff",
    ],
)
def test_no_messages_are_made_of_a_line_that_is_no_entry(line: str) -> None:
    part = gzip.compress(f"{line}\n".encode(errors="surrogateescape"))
    for read in (decode_part, lambda body: manifest.part_messages("run-1", body, "", {})):
        with pytest.raises(DecodeError):
            read(part)
