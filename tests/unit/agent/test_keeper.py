"""Which of the agents waits for the last leases, and sends again what was lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.reporting.heartbeat import is_keeper, read_heartbeats
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.testing import InMemoryStore

NOW = 10_000.0
LAYOUT = RunLayout(Location("bucket"), "r")


def beat(worker: str, state: WorkerState = WorkerState.IDLE, age: float = 0) -> Heartbeat:
    return Heartbeat(worker=worker, state=state, started=0, seen=NOW - age, interval_seconds=30)


def test_the_lowest_id_is_the_keeper() -> None:
    beats = [beat("w2"), beat("w1"), beat("w3")]
    assert [is_keeper(worker, beats, NOW) for worker in ("w1", "w2", "w3")] == [True, False, False]


def test_who_has_left_drains_or_is_overdue_is_not_counted_on() -> None:
    gone = [
        beat("w1", WorkerState.LEFT),
        beat("w2", WorkerState.FAILED),
        beat("w3", WorkerState.DRAINING),
        beat("w4", age=91),
    ]
    assert is_keeper("w5", [*gone, beat("w5")], NOW)


def test_who_cannot_see_even_its_own_heartbeat_keeps() -> None:
    assert is_keeper("w1", [], NOW)


beats = st.lists(
    st.builds(
        beat,
        st.sampled_from("abcdef"),
        st.sampled_from(WorkerState),
        st.floats(0, 200),
    ),
    unique_by=lambda beat: beat.worker,
)


@given(beats)
def test_among_those_who_stay_there_is_exactly_one(beats: list[Heartbeat]) -> None:
    staying = [b.worker for b in beats if b.alive(NOW) and b.state is not WorkerState.DRAINING]
    assert sum(is_keeper(worker, beats, NOW) for worker in staying) == bool(staying)


def test_a_heartbeat_that_cannot_be_read_says_nothing() -> None:
    store = InMemoryStore()
    store.put(LAYOUT.heartbeat("w1"), b"{")
    store.put(LAYOUT.heartbeat("w2"), beat("w2").encode())
    assert [found.worker for found in read_heartbeats(store, LAYOUT)] == ["w2"]
