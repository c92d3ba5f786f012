"""Lists and tables on disk are the lists and tables that they stand for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelize import spool
from parallelize.spool import BATCH, FEW_BYTES, FEW_ROWS, SORTED_ROWS, Hashes, Row, Spooled, Table
from parallelize_core.errors import UsageError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "parallelize"


def numbers(count: int) -> Spooled[Row]:
    """As in the order of a folder: neither sorted nor alike twice."""
    rows: Spooled[Row] = Spooled(lambda row: row, lambda *row: row)
    rows.extend((f"{number * 7919 % count:07}", number) for number in range(count))
    return rows


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * SORTED_ROWS + 1])
def test_a_list_is_gone_through_in_its_order_and_in_that_of_a_key(count: int) -> None:
    rows = numbers(count)
    expected = [(f"{number * 7919 % count:07}", number) for number in range(count)]
    assert len(rows) == count
    assert list(rows) == expected
    assert list(rows.in_order(lambda row: row[0])) == sorted(expected)


def test_two_can_go_through_a_list_at_the_same_time() -> None:
    rows = numbers(5 * BATCH)
    assert all(one == other for one, other in zip(rows, rows, strict=True))


def test_equal_items_keep_their_order() -> None:
    rows = numbers(3 * SORTED_ROWS).in_order(lambda row: row[0][-1])
    kept = [number for text, number in rows if text.endswith("0")]
    assert kept == sorted(kept)


KEYS = st.sampled_from(["", "a", "b", "\u00e9", "\ud800", "z/\U0001f600"])
STEPS = st.lists(st.tuples(st.sampled_from(["add", "put", "remove"]), KEYS, st.integers(0, 9)))


@settings(deadline=None, max_examples=50)
@given(STEPS, st.booleans())
def test_a_table_has_the_last_row_of_each_text(
    steps: list[tuple[str, str, int]], on_disk: bool
) -> None:
    table, expected = Table(), dict[str, Row]()
    if on_disk:
        table._move_to_disk()
    for step, key, number in steps:
        if step == "add":
            assert table.add(key, (number,)) == (key not in expected)
            expected.setdefault(key, (number,))
        elif step == "put":
            table.put(key, (number,))
            expected[key] = (number,)
        elif key in expected:
            table.remove(key)
            del expected[key]
    assert list(table.items()) == sorted(expected.items())
    assert len(table) == len(expected)
    assert all(table.get(key) == row and key in table for key, row in expected.items())
    assert "nowhere" not in table


def place_of(descriptor: Path) -> str:
    with suppress(FileNotFoundError):  # closed meanwhile, as the list's own is
        return str(descriptor.readlink())
    return ""


def test_a_large_table_is_on_disk_and_leaves_no_file_there(cache: Path) -> None:
    table = Table(str(number) for number in range(FEW_ROWS + 1))
    rows = numbers(10 * BATCH)
    opened = map(place_of, Path("/proc/self/fd").iterdir())
    assert len([place for place in opened if place.startswith(str(cache))]) == 2
    assert list(cache.iterdir()) == []
    assert len(table) == len(set(table)) == FEW_ROWS + 1
    assert len(rows) == 10 * BATCH


def test_a_table_of_few_long_rows_is_on_disk_too() -> None:
    table = Table()
    for number in range(5):
        table.put("the same", (str(number) * (FEW_BYTES // 4),))
    assert table._database is not None
    assert table.get("the same") == ("4" * (FEW_BYTES // 4),)


def test_a_disk_without_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    table._move_to_disk()
    assert table._database is not None
    table._database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(UsageError, match="cannot be written") as caught:
        table.put("a", ("x" * 100_000,))
    assert "full" in (caught.value.why or "")
    assert "XDG_CACHE_HOME" in (caught.value.fix or "")


@given(st.sets(st.text(max_size=3)), st.lists(st.text(max_size=3)))
def test_hashes_tell_which_texts_may_be_there_twice(some: set[str], others: list[str]) -> None:
    one, other = Hashes(), Hashes()
    for text in some:
        one.add(text)
    for text in others:
        other.add(text)
    assert not one.repeated()
    assert {hash(text) for text in others if others.count(text) > 1} == other.repeated()
    assert {hash(text) for text in some.intersection(others)} == one.common(other)


def test_only_the_parts_of_a_file_are_in_memory() -> None:
    rows = numbers(20 * BATCH)
    assert len(rows._rows._last) <= spool.BATCH


def test_a_table_is_at_hand_in_another_thread_as_in_a_notebook() -> None:
    table = Table(f"{number:06}" for number in range(FEW_ROWS + 1))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(table.put, "more", (1,)).result()
    assert table.get("more") == (1,)


def test_a_table_whose_rows_grow_while_it_is_gone_through_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spool, "FEW_BYTES", 1000)
    names = [f"{number:03}" for number in range(50)]
    table = Table(names)
    seen = []
    for key in table:
        table.put(key, ("x" * 100,))
        seen.append(key)
    assert seen == names
    assert all(table.get(key) == ("x" * 100,) for key in names)
