import pytest
from tests.unit.watching.scene import LAYOUT, Scene, failure

from parallelize.runs.state.attempts import read_records, report
from parallelize_core.errors import NothingToDoError
from parallelize_core.result import Usage


def test_every_attempt_is_told_in_order_the_result_last() -> None:
    scene = Scene()
    scene.attempt("a", 2, log="second\n", started_at="2027-01-15T07:00:02Z")
    scene.attempt("a", 1, log="first\n", started_at="2027-01-15T07:00:01Z")
    scene.fail("a", log="third\n")
    records = read_records(scene.store, LAYOUT, "a")
    assert [record.attempt for record in records] == [1, 2, 3]
    assert [record.log for record in records] == ["first\n", "second\n", "third\n"]


def test_the_attempts_after_a_retry_are_told_after_those_before_it() -> None:
    scene = Scene()
    scene.attempt("a", 2, worker="i-1", started_at="2027-01-15T07:00:02Z")
    scene.attempt("a", 1, worker="i-2", started_at="2027-01-15T07:00:03Z")
    records = read_records(scene.store, LAYOUT, "a")
    assert [record.attempt for record in records] == [2, 1]


def test_a_memory_peak_that_is_not_known_is_not_told() -> None:
    assert not any("memory" in line for line in report(failure("a", usage=Usage())))


def test_a_large_log_is_read_from_its_own_object() -> None:
    scene = Scene()
    place = f"{LAYOUT.logs('a')}3.i-1.log"
    scene.store.put(place, "much\n\xff".encode("latin-1"))
    scene.fail("a", log_key=place)
    assert read_records(scene.store, LAYOUT, "a")[0].log.startswith("much\n")


def test_the_attempts_of_a_file_whose_key_starts_alike_are_not_its_own() -> None:
    scene = Scene()
    scene.attempt("a/b", 1)
    scene.fail("a")
    assert len(read_records(scene.store, LAYOUT, "a")) == 1


def test_a_file_that_was_not_tried_yet_is_nothing_to_show() -> None:
    with pytest.raises(NothingToDoError):
        read_records(Scene().store, LAYOUT, "a")


def test_a_log_cannot_steer_the_terminal() -> None:
    lines = list(report(failure("a", log="\x1b[2Jgone\ttab\nnext", message="\x1b]0;title\x07")))
    assert not any("\x1b" in line or "\x07" in line or "\t" in line for line in lines)
    assert any(line.endswith("next") for line in lines)
