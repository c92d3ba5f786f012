"""When an agent without a job believes that it is over, whatever the approximate counts say."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.queue.drain import DrainRule, Step
from parallelize_core.config import AgentConfig, DrainSettings
from parallelize_core.lane import Lane
from parallelize_core.queue import QueueCounts

EMPTY = QueueCounts(0, 0, 0)
VISIBLE = QueueCounts(1, 5, 0)
DELAYED = QueueCounts(0, 5, 1)
ELSEWHERE = QueueCounts(0, 3, 0)

CONFIG = AgentConfig(
    run="r",
    bucket="b",
    queue_url="q",
    dead_letter_queue_url="d",
    lease_seconds=120,
    max_idle_seconds=1800,
    drain=DrainSettings(samples=4, interval_seconds=20, in_flight_margin_seconds=60),
)


class Idler:
    """An idle agent and its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.rule = DrainRule(CONFIG, lambda: self.now)

    def after(self, seconds: float, counts: QueueCounts, left_in: Collection[Lane] = ()) -> Step:
        self.now += seconds
        return self.rule.next_step(counts, left_in)


def test_one_empty_receive_means_nothing() -> None:
    assert Idler().after(0, EMPTY) is Step.POLL


def test_four_samples_of_zero_over_a_minute_ask_for_the_truth() -> None:
    idler = Idler()
    assert [idler.after(20, EMPTY) for _ in range(4)] == [Step.POLL] * 3 + [Step.CHECK]


def test_samples_that_come_fast_count_once() -> None:
    idler = Idler()
    assert {idler.after(0.1, EMPTY) for _ in range(100)} == {Step.POLL}


def test_a_message_in_between_begins_the_count_anew() -> None:
    for counts in (VISIBLE, DELAYED, ELSEWHERE):
        idler = Idler()
        for _ in range(3):
            idler.after(20, EMPTY)
        assert idler.after(20, counts) is Step.POLL
        assert idler.after(20, EMPTY) is Step.POLL


def test_messages_that_can_be_received_soon_are_waited_for() -> None:
    for counts in (VISIBLE, DELAYED):
        idler = Idler()
        assert {idler.after(60, counts) for _ in range(29)} == {Step.POLL}


def test_messages_elsewhere_are_waited_for_a_lease_and_a_margin() -> None:
    idler = Idler()
    assert idler.after(0, ELSEWHERE) is Step.POLL
    assert idler.after(179, ELSEWHERE) is Step.POLL
    assert idler.after(1, ELSEWHERE) is Step.HAND_OVER


def test_too_long_without_work_is_the_end_whatever_the_counts_say() -> None:
    for counts in (EMPTY, VISIBLE, DELAYED, ELSEWHERE):
        idler = Idler()
        assert idler.after(1800, counts) is Step.GIVE_UP


def test_work_sets_all_clocks_back() -> None:
    idler = Idler()
    idler.after(0, ELSEWHERE)
    idler.now += 1799
    idler.rule.reset()
    assert idler.after(1000, ELSEWHERE) is Step.POLL
    assert idler.after(100, ELSEWHERE) is Step.POLL


count = st.integers(0, 3)
sightings = st.lists(
    st.tuples(st.floats(0, 100), st.builds(QueueCounts, count, count, count)), max_size=60
)


@given(sightings)
def test_it_is_never_over_unless_the_counts_have_been_quiet_long_enough(
    seen: list[tuple[float, QueueCounts]],
) -> None:
    idler = Idler()
    start = idler.now
    zeros_since = elsewhere_since = None
    for pause, counts in seen:
        step = idler.after(pause, counts)
        zeros_since = None if counts.total else zeros_since or idler.now
        quiet = not counts.visible and not counts.delayed and counts.in_flight
        elsewhere_since = (elsewhere_since or idler.now) if quiet else None
        if step is Step.CHECK:
            assert zeros_since is not None
            assert idler.now - zeros_since >= 60
        if step is Step.HAND_OVER:
            assert elsewhere_since is not None
            assert idler.now - elsewhere_since >= 180
        assert (step is Step.GIVE_UP) == (idler.now - start >= 1800)


def test_what_is_left_in_another_lane_is_left_to_that_lanes_workers() -> None:
    idler = Idler()
    steps = [idler.after(20, EMPTY, [Lane.LARGE]) for _ in range(4)]
    assert steps == [Step.POLL] * 3 + [Step.LEAVE_TO_LANE]


def test_a_lane_waits_for_what_the_main_queue_may_still_bring() -> None:
    idler = Idler()
    assert {idler.after(20, EMPTY, [Lane.MAIN]) for _ in range(20)} == {Step.POLL}


def test_zeros_of_one_lane_do_not_count_as_zeros_of_all() -> None:
    idler = Idler()
    for _ in range(3):
        idler.after(20, EMPTY, [Lane.STEADY])
    assert [idler.after(20, EMPTY) for _ in range(4)] == [Step.POLL] * 3 + [Step.CHECK]
