"""Which jobs may run side by side on a machine's memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.memory.admission import SHARE, Memory, Need
from parallelize_agent.memory.peaks import PeakModel

GIB = 2**30


def machine(gib: int = 24, model: PeakModel | None = None, free: int | None = None) -> Memory:
    return Memory(gib * GIB, model or PeakModel(), lambda: gib * GIB if free is None else free)


def learned(
    *peaks: int, size: int = 1000, settled: float = 1.0, ran: float | None = None
) -> PeakModel:
    model = PeakModel()
    for peak in peaks:
        model.add(size, peak, settled, ran)
    return model


def fill(memory: Memory, need: Callable[[], Need], slots: int, seconds: float = 0) -> int:
    """Return how many jobs run once no other may start."""
    running: list[Need] = []
    while len(running) < slots and memory.admits(running, one := need(), slots, seconds):
        running.append(one)
    return len(running)


def test_what_is_promised_fits_nine_tenths_of_the_machine() -> None:
    assert fill(machine(24), lambda: Need(promised=10 * GIB), 8) == 2
    assert fill(machine(24), lambda: Need(promised=11 * GIB), 8) == 1


def test_a_job_that_is_alone_may_always_start() -> None:
    assert machine(1).admits([], Need(promised=100 * GIB), 8, 0)


def test_a_job_that_ran_out_of_memory_counts_with_its_room() -> None:
    memory = machine(24)
    assert memory.admits([Need(promised=GIB)], Need(promised=GIB, room=20 * GIB), 8, 0)
    assert not memory.admits([Need(promised=2 * GIB)], Need(promised=GIB, room=20 * GIB), 8, 0)
    assert memory.takes_all(22 * GIB)
    assert not memory.takes_all(21 * GIB)


def test_before_anything_is_known_a_quarter_of_the_slots_is_used_and_soon_all() -> None:
    assert fill(machine(64), Need, 128, seconds=0) == 32
    assert fill(machine(64), Need, 128, seconds=3) == 62
    assert fill(machine(64), Need, 128, seconds=7) == 128


def test_before_anything_is_known_there_is_a_job_for_each_4_gib_and_two_at_least() -> None:
    assert fill(machine(24), Need, 8) == 5
    assert fill(machine(1), Need, 8) == 2


def test_before_anything_is_known_a_job_may_come_to_take_twice_what_it_was_seen_to_take() -> None:
    running = [Need(used=lambda: 4 * GIB) for _ in range(2)]
    assert not machine(24).admits(running, Need(), 64, 60)
    assert machine(48).admits(running, Need(), 64, 60)


def test_after_a_few_results_jobs_run_as_their_peaks_allow() -> None:
    assert fill(machine(24, learned(*[2 * GIB] * 5)), lambda: Need(size=1000), 64) == 10


def test_a_run_of_small_jobs_uses_every_slot() -> None:
    model = learned(*[0] * 5)
    assert fill(machine(24, model), lambda: Need(size=1000), 64) == 64


def test_jobs_that_vary_leave_more_room_than_jobs_that_do_not() -> None:
    even, varied = learned(*[2 * GIB] * 100), learned(*[GIB, GIB, GIB, 5 * GIB] * 25)
    many = [fill(machine(96, model), lambda: Need(size=1000), 96) for model in (even, varied)]
    assert many[1] < many[0]


def test_a_job_that_has_come_to_its_peak_counts_what_it_takes() -> None:
    model = learned(*[4 * GIB] * 30, settled=1.0)
    small = [Need(size=1000, used=lambda: GIB, age=lambda: 60) for _ in range(4)]
    young = [Need(size=1000, used=lambda: GIB, age=lambda: 0) for _ in range(4)]
    assert machine(20, model).admits(small, Need(size=1000), 64, 0)
    assert not machine(20, model).admits(young, Need(size=1000), 64, 0)


def test_a_job_that_takes_more_than_others_counts_what_it_takes() -> None:
    model = learned(*[GIB] * 30)
    large = [Need(size=1000, used=lambda: 20 * GIB)]
    assert not machine(22, model).admits(large, Need(size=1000), 64, 0)


def test_what_others_have_taken_of_the_machine_is_not_there() -> None:
    model = learned(*[2 * GIB] * 5)
    running = [Need(size=1000)]
    assert not machine(24, model, free=GIB).admits(running, Need(size=1000), 64, 0)
    assert machine(24, model, free=3 * GIB).admits(running, Need(size=1000), 64, 0)


def test_so_many_jobs_are_held_as_may_run() -> None:
    assert machine(24).capacity([], Need(promised=10 * GIB), 8, 0) == 2
    assert machine(24, learned(*[2 * GIB] * 5)).capacity([], Need(size=1000), 64, 0) == 10
    assert machine(64).capacity([], Need(), 128, 0) == 32


def test_one_more_is_held_if_those_that_run_leave_room() -> None:
    memory = machine(24, learned(*[2 * GIB] * 30))
    small = [Need(size=1000, used=lambda: GIB, age=lambda: 60) for _ in range(12)]
    assert memory.capacity(small, Need(size=1000), 64, 0) == 13
    assert memory.capacity(small, Need(size=1000), 12, 0) == 12, "there is no slot for it"
    large = [Need(size=1000, used=lambda: 2 * GIB, age=lambda: 60) for _ in range(10)]
    assert memory.capacity(large, Need(size=1000), 64, 0) == 10


def long_tailed() -> PeakModel:
    """Return what is known of jobs with a median of 1.8 GiB, one in a hundred of 5.7."""
    usual = NormalDist(math.log(1.8 * GIB), 0.5)
    return learned(*[round(math.exp(usual.inv_cdf((n + 0.5) / 100))) for n in range(100)])


def admits_beside(used_gib: float, age: float) -> bool:
    """Whether one more such job starts on 8 GiB, beside one that uses this much at this age."""
    other = Need(size=1000, used=lambda: round(used_gib * GIB), age=lambda: age)
    return machine(8, long_tailed()).admits([other], Need(size=1000), 2, 0)


def test_beside_a_large_job_none_starts_that_may_be_large_too() -> None:
    assert [admits_beside(used, age=OLD) for used in (2.0, 3.0, 3.5, 4.0)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_a_job_that_grows_is_expected_to_become_larger_than_it_is() -> None:
    assert admits_beside(2.5, age=OLD)
    assert not admits_beside(2.5, age=0.0)


OLD = 60.0
"""An age at which a job of a minute has come to its peak, and will soon have ended."""


def crowd(model: PeakModel, used: int, age: float) -> Memory | None:
    """Return the machine if, beside a dozen jobs of this age, one more of 2 GiB may start."""
    memory = machine(28, model)
    running = [Need(size=1000, used=lambda: used, age=lambda: age) for _ in range(12)]
    return memory if memory.admits(running, Need(size=1000), 64, 0) else None


def test_one_may_start_if_others_will_have_ended_before_it_has_grown() -> None:
    slow = learned(*[2 * GIB] * 30, settled=40.0, ran=60.0)
    assert crowd(slow, 2 * GIB, OLD)
    at_once = learned(*[2 * GIB] * 30, settled=0.3, ran=60.0)
    assert not crowd(at_once, 2 * GIB, OLD)


def test_nobody_is_taken_to_end_before_it_is_known_when_jobs_do() -> None:
    assert not crowd(learned(*[2 * GIB] * 30, settled=40.0), 2 * GIB, OLD)
    assert not crowd(learned(*[2 * GIB] * 19, settled=40.0, ran=60.0), 2 * GIB, OLD)


def test_jobs_that_grow_together_are_counted_at_their_peaks_together() -> None:
    assert not crowd(learned(*[2 * GIB] * 30, settled=40.0, ran=60.0), 0, 0.0)


def test_a_promise_is_no_matter_of_time() -> None:
    memory = machine(24, learned(*[2 * GIB] * 30, settled=40.0, ran=60.0))
    running = [Need(size=1000, promised=10 * GIB, age=lambda: OLD) for _ in range(2)]
    assert not memory.admits(running, Need(size=1000, promised=10 * GIB), 8, 0)


@given(
    peaks=st.lists(st.integers(1, 64 * GIB), min_size=0, max_size=30),
    used=st.lists(st.integers(0, 64 * GIB), max_size=12),
    promised=st.sampled_from([0, 0, GIB, 30 * GIB]),
    slots=st.integers(1, 64),
    seconds=st.floats(0, 1e6),
)
def test_whatever_is_known_what_is_promised_fits_and_what_is_used_is_counted(
    peaks: list[int], used: list[int], promised: int, slots: int, seconds: float
) -> None:
    memory = machine(32, learned(*peaks, ran=2.0))
    running = [
        Need(size=1000, promised=promised, used=lambda taken=taken: taken)  # type: ignore[misc]
        for taken in used
    ]
    admitted = memory.admits(running, Need(size=1000, promised=promised), slots, seconds)
    if not running:
        assert admitted
    elif admitted:
        least = sum(max(taken, promised) for taken in used) + promised
        assert least <= SHARE * 32 * GIB
    usual = Need(size=1000, promised=promised)
    assert 1 <= memory.capacity([], usual, slots, seconds) <= slots
