"""When so much of a run fails that it is halted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_core.pause import FIRST, Progress, allowance, least_failures, reason_to_halt


@pytest.mark.parametrize(
    ("halt", "total", "failures"),
    [("5%", 1200, 60), ("5%", 30, 2), ("0.1%", 100, 1), ("7", 1200, 7), (None, 1200, None)],
)
def test_a_setting_allows_so_many_failures(halt, total, failures):
    assert allowance(halt, total) == failures


def test_at_the_limit_a_run_is_halted_and_not_before():
    assert reason_to_halt("5%", Progress(1200, 500, 59)) is None
    assert reason_to_halt("5%", Progress(1200, 500, 60)) == (
        "60 of 1,200 files have failed (run.halt is 5%)"
    )


def test_without_a_setting_failures_among_successes_halt_nothing():
    assert reason_to_halt(None, Progress(1200, 1199, 1198)) is None


def test_a_run_whose_first_jobs_have_all_failed_is_halted_without_a_setting():
    assert reason_to_halt(None, Progress(1200, FIRST - 1, FIRST - 1)) is None
    assert reason_to_halt(None, Progress(1200, FIRST, FIRST)) == (
        "the first 20 files have all failed"
    )


def test_failures_that_were_forgiven_do_not_count():
    assert reason_to_halt("10", Progress(100, 50, 19, forgiven=10)) is None
    assert reason_to_halt("10", Progress(100, 50, 20, forgiven=10))


halts = st.none() | st.integers(1, 10**6).map(str) | st.floats(0, 100).map(lambda x: f"{x:.3f}%")
progress = st.builds(Progress, *[st.integers(0, 2000)] * 4, in_vain=st.just(0))


@given(halts, progress)
def test_a_run_at_its_end_is_never_halted(halt, progress):
    if progress.finished >= progress.total:
        assert reason_to_halt(halt, progress) is None


@given(halts, progress)
def test_with_fewer_failures_than_the_least_no_run_is_halted(halt, progress):
    if progress.fresh < least_failures(halt):
        assert reason_to_halt(halt, progress) is None
