"""What is learned of how jobs go on: when they come to their peak, and when they end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.memory.course import ENOUGH, Course, Courses


def seen(*jobs: tuple[float, float], times: int = 30) -> Course:
    """Return what is known after jobs that came to their peak, and ended, at these ages."""
    courses = Courses()
    for settled, ended in jobs * times:
        courses.add(settled, ended)
    return courses.all


def test_the_older_a_job_the_less_probably_it_grows() -> None:
    course = seen((10.0, 120.0))
    assert [course.growing(age) for age in (1.0, 10.0, 60.0)] == [1.0, 1.0, 0.0]


def test_of_jobs_that_still_run_those_that_have_ended_are_left_out() -> None:
    course = seen((100.0, 400.0), *[(1.0, 2.0)] * 9)
    assert course.growing(0.3) == 1.0
    assert course.growing(50.0) == 1.0, "what runs at this age is one of the long ones"


def test_without_many_results_every_job_may_still_grow() -> None:
    course = seen((1.0, 2.0), times=ENOUGH - 1)
    assert (course.growing(1e9), course.moments) == (1.0, ())


def test_what_was_ended_says_nothing_of_when_jobs_end() -> None:
    courses = Courses()
    for _ in range(30):
        courses.add(1.0, None)
    assert courses.all.moments == ()


def test_a_job_runs_on_with_the_probability_of_those_that_came_to_its_age() -> None:
    course = seen((1.0, 10.0), (1.0, 100.0))
    assert course.after(0.3, 5.0)[0] == 1.0
    assert course.after(0.3, 50.0)[0] == 0.5
    assert course.after(50.0, 5.0)[0] == 1.0
    assert course.after(1000.0, 5.0)[0] == 1.0, "no job before was so old"


def test_a_job_grows_evenly_to_its_peak() -> None:
    course = seen((64.0, 128.0))
    grown = [course.after(0.0, seconds)[1] for seconds in (8.0, 32.0, 80.0)]
    assert grown == pytest.approx([0.1, 0.42, 1.0], abs=0.03)
    assert course.after(100.0, 8.0)[1] == 0.0, "it has come to it"


def test_what_others_tell_again_counts_once() -> None:
    courses = Courses()
    for _ in range(2):
        courses.learn_from([({0: ENOUGH}, {8: ENOUGH - 1})])
    assert courses.all.moments == ()


@given(
    jobs=st.lists(st.tuples(st.floats(0, 1e7), st.floats(0, 1e7)), min_size=20, max_size=40),
    age=st.floats(0, 1e8),
)
def test_whatever_was_seen_a_probability_is_one_and_a_share_too(
    jobs: list[tuple[float, float]], age: float
) -> None:
    course = seen(*[(min(pair), max(pair)) for pair in jobs], times=1)
    found = [value for moment in course.moments for value in course.after(age, moment)]
    assert course.moments
    assert all(0 <= value <= 1 for value in (*found, course.growing(age)))
