import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_core.parts import MAX_PARTS, PART_BYTES, at_once, part_bytes, parts_of

TIB = 2**40


@given(st.integers(0, 50 * TIB))
def test_parts_cover_an_object_without_gap_or_overlap_and_are_not_too_many(size):
    parts = parts_of(size)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert len(parts) <= MAX_PARTS
    ends = [0, *(part.start + part.size for part in parts)]
    assert ends[:-1] == [part.start for part in parts]
    assert ends[-1] == size


@pytest.mark.parametrize("size", [1, MAX_PARTS * PART_BYTES])
def test_parts_are_longer_than_usual_only_if_there_would_be_too_many(size):
    assert part_bytes(size) == PART_BYTES
    assert part_bytes(MAX_PARTS * PART_BYTES + 1) > PART_BYTES


def test_what_comes_of_the_parts_is_in_their_order():
    first_may_end = threading.Event()

    def do(part):
        if part.number == 1:
            assert first_may_end.wait(10)
        else:
            first_may_end.set()
        return part.number

    with ThreadPoolExecutor(2) as pool:
        assert at_once(pool, do, parts_of(3 * PART_BYTES)) == [1, 2, 3]


def test_after_an_error_nothing_new_begins_and_what_is_under_way_is_waited_for():
    second_runs, ended = threading.Event(), []

    def do(part):
        if part.number == 1:
            assert second_runs.wait(10)
            raise OSError("the first")
        second_runs.set()
        ended.append(part.number)

    with ThreadPoolExecutor(2) as pool, pytest.raises(OSError, match="the first"):
        at_once(pool, do, parts_of(2 * PART_BYTES))
    assert ended == [2]
