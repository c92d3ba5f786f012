"""What is learned of jobs' memory, and told to others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.memory.peaks import FEW, PeakModel
from parallelize_core.heartbeat import MemoryPeaks

MIB = 2**20


def learned(peaks: dict[int, list[int]], settled: float = 1.0) -> PeakModel:
    """Return a model that has seen these peaks, by the size of the input."""
    model = PeakModel()
    for size, found in peaks.items():
        for peak in found:
            model.add(size, peak, settled)
    return model


def mean(model: PeakModel, size: int) -> float:
    expected = model.expected(size)
    assert expected
    return expected.mean


def test_nothing_is_expected_before_a_few_results() -> None:
    assert learned({1000: [MIB] * (FEW - 1)}).expected(1000) is None
    assert learned({1000: [MIB] * FEW}).expected(1000)


def test_results_of_different_sizes_tell_together_until_one_size_has_a_few() -> None:
    assert learned({size: [MIB] for size in (1, 100, 10_000, 10**6, 10**8)}).expected(50)


def test_what_is_expected_goes_by_the_size_of_the_input() -> None:
    model = learned({1000: [10 * MIB] * 9, 10**6: [500 * MIB] * 9})
    assert mean(model, 1000) == pytest.approx(10 * MIB, rel=0.1)
    assert mean(model, 10**6) == pytest.approx(500 * MIB, rel=0.1)


def test_a_larger_input_than_any_before_is_taken_to_need_more_in_proportion() -> None:
    model = learned({1024: [10 * MIB] * 9})
    assert mean(model, 4 * 1024) == pytest.approx(40 * MIB, rel=0.1)
    assert mean(model, 256) == pytest.approx(10 * MIB, rel=0.1)


def test_what_uses_more_than_most_and_grows_is_expected_among_the_larger_peaks() -> None:
    model = learned({1024: [10 * MIB] * 9 + [40 * MIB] * 3})
    grows, largest = model.expected(1024, 20 * MIB), model.expected(1024, 50 * MIB)
    assert grows
    assert grows.mean == pytest.approx(40 * MIB, rel=0.1)
    assert largest
    assert (largest.mean, largest.variance) == (50 * MIB, 0), "none was larger"


def test_what_grows_is_compared_with_peaks_in_proportion_to_its_input() -> None:
    model = learned({1024: [10 * MIB] * 9 + [40 * MIB] * 3})
    expected = model.expected(4 * 1024, 20 * MIB)
    assert expected
    assert expected.mean == pytest.approx(mean(model, 4 * 1024), rel=0.1), "most take 40 MiB"


def test_few_results_are_taken_to_vary_more_than_many() -> None:
    few, many = learned({1: [MIB, 4 * MIB] * 3}), learned({1: [MIB, 4 * MIB] * 300})
    first, second = few.expected(1), many.expected(1)
    assert first
    assert second
    assert first.variance > 1.5 * second.variance


@given(st.lists(st.integers(1, 2**45), min_size=FEW, max_size=60))
def test_95_of_100_peaks_are_not_above_what_is_expected(peaks: list[int]) -> None:
    usual = learned({7: peaks}).p95
    assert usual
    assert sum(peak > usual * 1.0001 for peak in peaks) <= 0.05 * len(peaks)


@given(
    st.dictionaries(st.integers(0, 2**50), st.lists(st.integers(0, 2**45), max_size=9), max_size=5)
)
def test_who_is_told_knows_what_the_teller_knows(peaks: dict[int, list[int]]) -> None:
    teller, told = learned(peaks), PeakModel()
    text = teller.told.model_dump_json()
    told.learn_from([MemoryPeaks.model_validate_json(text)])
    for size in peaks:
        assert told.expected(size) == teller.expected(size)
    assert told.told == MemoryPeaks()


def test_what_others_tell_again_counts_once() -> None:
    teller, told = learned({1: [MIB] * 3}), PeakModel()
    told.learn_from([teller.told])
    told.learn_from([teller.told])
    assert told.overall is None


@pytest.mark.parametrize("peaks", ['{"by_size": {"1": {"9999999": 1}}}', '{"settled": {"1": 0}}'])
def test_what_cannot_be_is_not_believed(peaks: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        MemoryPeaks.model_validate_json(peaks)


@given(st.lists(st.tuples(st.integers(0, 2**50), st.integers(1, 2**45)), max_size=30))
def test_a_peak_counts_the_same_before_the_first_question_and_after_it(
    peaks: list[tuple[int, int]],
) -> None:
    model, asked = PeakModel(), PeakModel()
    for size, peak in peaks:
        model.add(size, peak, 1.0, 2.0)
        asked.add(size, peak, 1.0, 2.0)
        asked.expected(size, peak)
        assert asked.course.growing(0.1) == pytest.approx(1.0)
    assert asked.course.moments == model.course.moments
    assert asked.p95 == model.p95
    for size, peak in peaks:
        for one, other in [
            (asked.expected(size), model.expected(size)),
            (asked.expected(size, peak), model.expected(size, peak)),
            (asked.overall, model.overall),
        ]:
            assert (one is None) == (other is None)
            if one and other:
                assert one.mean == pytest.approx(other.mean)
                assert one.variance == pytest.approx(other.variance, abs=1e-9 * one.mean**2)
