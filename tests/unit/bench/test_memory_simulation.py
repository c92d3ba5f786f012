"""Memory that nobody has set: 1,000 jobs like mapsnap's, by the shipped rule in simulated time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bench.memory.__main__ import (
    FLEET,
    LARGE,
    TINY,
    fleet,
    with_large_lane,
    with_no_setting,
)
from tests.bench.memory.simulation import Machine, Worker, fixed, learning, mapsnap, simulate

GB = 10**9


@pytest.mark.parametrize(
    ("machine", "growth", "slots"),
    [
        (Machine(16, 32 * GB), 0.0, 12),
        (Machine(16, 32 * GB), 0.3, 13),
        (Machine(64, 128 * GB), 0.3, 62),
    ],
)
def test_of_a_thousand_jobs_none_fails_few_are_killed_and_the_machine_is_used(
    machine: Machine, growth: float, slots: int
) -> None:
    """`slots` is the best fixed number, which `python -m tests.bench.memory` finds."""
    found = with_no_setting(machine, growth, seed=1)
    best = simulate(machine, mapsnap(1, growth=growth), [Worker(fixed(slots))])
    assert (found.done, found.failed) == (1000, 0)
    assert found.killed <= 10
    assert found.rate >= 0.9 * best.rate


def test_on_small_machines_few_of_a_thousand_are_killed_and_nearly_as_many_done_in_a_second() -> (
    None
):
    """Two large jobs are too many for such a machine, and most pairs are not."""
    killed, rates = list[int](), list[float]()
    for seed in range(1, 6):
        found, _ = fleet([learning(TINY) for _ in range(FLEET)], seed, seconds=60)
        best, _ = fleet([Worker(fixed(TINY.cpus)) for _ in range(FLEET)], seed, seconds=60)
        assert found.failed == 0
        killed.append(len(found.hit))
        rates.append(found.rate / best.rate)
    assert sum(killed) <= 8 * len(killed), killed
    assert sum(rates) >= 0.9 * len(rates), rates


def test_one_long_job_among_ten_short_ones_is_not_taken_for_one_that_will_soon_have_ended() -> None:
    machine = Machine(16, 32 * GB)
    works = mapsnap(seed=1, jobs=500, growth=0.3, seconds=20)
    for one in works[::10]:
        one.seconds *= 20
    found = simulate(machine, works, [learning(machine)])
    assert (found.done, found.failed) == (500, 0)
    assert found.killed <= 5


def test_what_a_small_machine_cannot_hold_ends_well_on_the_large_lane() -> None:
    machine = Machine(2, 4 * GB)
    alone = with_no_setting(machine, 0.3, seed=1, jobs=200)
    small, large, there = with_large_lane(machine, seed=1, jobs=200)
    assert alone.failed == there > 0, "these are what there is no other machine for"
    assert (small.done + large.done, small.failed, large.failed, large.killed) == (200, 0, 0, 0)
    assert large.most <= LARGE.cpus


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    cpus=st.integers(1, 64),
    memory=st.integers(24, 256),
    growth=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seconds=st.sampled_from([1.0, 60.0, 600.0]),
)
def test_on_any_machine_that_can_hold_its_largest_job_every_job_ends_well(
    seed: int, cpus: int, memory: int, growth: float, seconds: float
) -> None:
    machine = Machine(cpus, memory * GB)
    works = mapsnap(seed, 100, growth, seconds)
    found = simulate(machine, works, [learning(machine)])
    assert (found.done, found.failed) == (100, 0)
