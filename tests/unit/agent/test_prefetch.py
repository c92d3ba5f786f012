"""How many jobs are held ready: enough to hide a transfer, none that another could start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.job.pipeline import MOST_PER_SLOT, Average, places_ahead

seconds = st.floats(0, 1e6)
paces = st.lists(seconds, min_size=1, max_size=200)


def test_nothing_is_held_ready_beside_long_jobs() -> None:
    assert places_ahead([3600.0] * 64, 0.1) == 0


def test_short_jobs_are_held_ready_for_a_second() -> None:
    assert places_ahead([1.0] * 4, 0.01) == 4
    assert places_ahead([0.5] * 4, 0.01) == 8


def test_a_slow_transfer_is_hidden() -> None:
    assert places_ahead([30.0] * 4, 30.0) == 8


@given(paces, seconds)
def test_it_is_bounded(paces: list[float], stage_in: float) -> None:
    assert 0 <= places_ahead(paces, stage_in) <= MOST_PER_SLOT * len(paces)


@given(paces, seconds, st.floats(1, 1e3))
def test_longer_jobs_never_need_more_held_ready(
    paces: list[float], stage_in: float, longer: float
) -> None:
    assert places_ahead([pace * longer for pace in paces], stage_in) <= places_ahead(
        paces, stage_in
    )


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_an_average_lies_among_its_values(values: list[float]) -> None:
    average = Average()
    for value in values:
        average.add(value)
    assert average.value is not None
    assert min(values) * (1 - 1e-9) - 1e-9 <= average.value <= max(values) * (1 + 1e-9) + 1e-9
