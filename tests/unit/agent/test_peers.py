"""Which other workers live, and which of all waits for the last leases and repairs the queue."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.reporting.peers import ALL_DONE, ALL_SENT_DONE, Peers
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.lane import Lane
from parallelize_core.layout import Location, RunLayout
from parallelize_core.testing import AsyncInMemoryStore, InMemoryStore

NOW = 10_000.0
LAYOUT = RunLayout(Location("bucket"), "r")


def beat(
    worker: str, state: WorkerState = WorkerState.IDLE, age: float = 0, lane: Lane = Lane.MAIN
) -> Heartbeat:
    return Heartbeat(
        worker=worker, state=state, started=0, seen=NOW - age, interval_seconds=30, lane=lane
    )


def peers_of(
    worker: str, beats: list[Heartbeat], *, broken: str = "", lane: Lane = Lane.MAIN
) -> Peers:
    store = InMemoryStore()
    for found in beats:
        store.put(LAYOUT.heartbeat(found.worker), found.encode())
    if broken:
        store.put(LAYOUT.heartbeat(broken), b"{")
    return Peers(AsyncInMemoryStore(store), LAYOUT, worker, lambda: NOW, lane)


def leads(worker: str, beats: list[Heartbeat], lane: Lane = Lane.MAIN) -> bool:
    return asyncio.run(peers_of(worker, beats, lane=lane).leads())


def living(peers: Peers) -> list[str]:
    async def collect() -> list[str]:
        return [found.worker async for found in peers.living()]

    return asyncio.run(collect())


SKEW = 600.0


class Clock:
    """S3's clock, in seconds since 1970."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("reader_ahead", [-SKEW, 0, SKEW])
@pytest.mark.parametrize("writer_ahead", [-SKEW, 0, SKEW])
def test_a_worker_is_judged_by_s3s_clock_however_wrong_others_are(
    reader_ahead: float, writer_ahead: float
) -> None:
    clock = Clock()
    store = InMemoryStore(clock=clock)
    for worker, age in (("w1", 91), ("w2", 60)):
        clock.now = NOW - age
        found = beat(worker, age=age - writer_ahead)
        store.put(LAYOUT.heartbeat(worker), found.encode())
    clock.now = NOW
    peers = Peers(AsyncInMemoryStore(store), LAYOUT, "w3", lambda: NOW + reader_ahead)
    assert living(peers) == ["w2"]
    clock.now += 31  # the heartbeat is the same, and is not read again
    assert living(peers) == []


def test_the_lowest_id_leads() -> None:
    beats = [beat("w2"), beat("w1"), beat("w3")]
    assert [leads(worker, beats) for worker in ("w1", "w2", "w3")] == [True, False, False]


def test_a_worker_that_has_left_drains_or_is_overdue_is_not_counted_on() -> None:
    gone = [
        beat("w1", WorkerState.LEFT),
        beat("w2", WorkerState.FAILED),
        beat("w3", WorkerState.DRAINING),
        beat("w4", age=91),
    ]
    assert leads("w5", [*gone, beat("w5")])


def test_a_worker_that_cannot_see_even_its_own_heartbeat_leads() -> None:
    assert leads("w1", [])


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
def test_among_those_that_receive_and_stay_exactly_one_leads(beats: list[Heartbeat]) -> None:
    others = {WorkerState.STARTING, WorkerState.DRAINING}
    staying = [b.worker for b in beats if b.alive(NOW) and b.state not in others]
    assert sum(leads(worker, beats) for worker in staying) == bool(staying)


def test_a_heartbeat_that_cannot_be_read_says_nothing() -> None:
    assert living(peers_of("w0", [beat("w2")], broken="w1")) == ["w2"]


def test_another_worker_is_one_that_is_neither_this_nor_among_those_left_out() -> None:
    peers = peers_of("w1", [beat("w1"), beat("w2")])
    assert asyncio.run(peers.any_other())
    assert not asyncio.run(peers.any_other({"w2"}))


def left(worker: str, ago: float, reason: str = ALL_DONE) -> Heartbeat:
    told = {"reason": reason, "leaving": NOW - ago}
    return beat(worker, WorkerState.LEFT).model_copy(update=told)


def found_done(beats: list[Heartbeat]) -> str:
    return asyncio.run(peers_of("w5", beats).found_done(60))


@pytest.mark.parametrize("reason", [ALL_DONE, ALL_SENT_DONE])
def test_the_word_of_a_leader_that_has_left_counts(reason: str) -> None:
    assert found_done([beat("w1", age=1000), left("w2", 59, reason), beat("w3")]) == reason


def test_other_words_and_older_ones_do_not_count() -> None:
    assert found_done([left("w1", 61), left("w2", 0, "the machine is taken away")]) == ""


def test_a_worker_that_was_not_the_leader_is_not_looked_at() -> None:
    assert found_done([beat("w1"), left("w2", 0)]) == ""


def test_nobody_waits_for_a_worker_that_is_still_being_set_up() -> None:
    starting = beat("w1", WorkerState.STARTING)
    assert leads("w2", [starting, beat("w2"), beat("w3")])
    assert found_done([starting, left("w2", 0), beat("w3")]) == ALL_DONE


def test_a_worker_for_all_jobs_leads_before_those_of_lanes() -> None:
    beats = [beat("w1", lane=Lane.LARGE), beat("w2"), beat("w3", lane=Lane.STEADY), beat("w4")]
    assert [leads(one.worker, beats, one.lane) for one in beats] == [False, True, False, False]


def test_the_lowest_of_the_lanes_leads_if_there_are_no_others() -> None:
    beats = [beat("w1", WorkerState.LEFT), *(beat(f"w{n}", lane=Lane.LARGE) for n in (2, 3))]
    assert [leads(one.worker, beats, one.lane) for one in beats[1:]] == [True, False]


def test_one_worker_of_each_lane_keeps_it_whoever_leads() -> None:
    beats = [
        beat("w1", WorkerState.STARTING, lane=Lane.LARGE),
        *(beat(f"w{n}", lane=Lane.LARGE) for n in (2, 3)),
        *(beat(f"w{n}") for n in (4, 5)),
    ]
    keepers = [
        one.worker
        for one in beats[1:]
        if asyncio.run(peers_of(one.worker, beats, lane=one.lane).keeps_lane())
    ]
    assert keepers == ["w2", "w4"]


def test_the_word_of_a_leader_is_heard_past_a_worker_of_a_lane() -> None:
    word = beat("w5", WorkerState.LEFT).model_copy(update={"reason": ALL_DONE, "leaving": NOW})
    peers = peers_of("w9", [beat("w1", lane=Lane.LARGE), word])
    assert asyncio.run(peers.found_done(60)) == ALL_DONE


def test_only_a_worker_of_the_same_lane_can_give_a_second_opinion() -> None:
    beats = [beat("w1"), beat("w2", lane=Lane.LARGE)]
    asked = {lane: peers_of("w9", beats, lane=lane).any_other(["w1"]) for lane in Lane}
    assert [asyncio.run(answer) for answer in asked.values()] == [False, True, False]
