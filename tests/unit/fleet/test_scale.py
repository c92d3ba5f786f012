from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.fleet.instances import HUNG_SECONDS, Machine, hung
from parallelize.fleet.termination import Compute
from parallelize.operations.scale import ScalePlan, check_gone, plan_scale
from parallelize_core.errors import ServiceError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.names import Names

LAUNCHED = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOON = LAUNCHED.timestamp()
LATER = NOON + HUNG_SECONDS + 1


def machine(name, *, minute=0, state="running"):
    launched = LAUNCHED.replace(minute=minute)
    return Machine(name, state, "c7i.xlarge", "eu-west-1a", "spot", "scans", launched)


def beat(name, *running, state=WorkerState.BUSY):
    return Heartbeat(
        worker=name, state=state, started=0, seen=NOON, interval_seconds=30, running=running
    )


def leaving(machines, beats, wanted):
    return [one.id for one in plan_scale(machines, beats, wanted, NOON).leaving]


def test_idle_workers_leave_before_busy_ones():
    machines = [machine("busy"), machine("idle"), machine("half")]
    beats = [beat("busy", "a", "b"), beat("idle"), beat("half", "c")]
    assert leaving(machines, beats, 1) == ["idle", "half"]


@pytest.mark.parametrize("seen", [0, NOON + HUNG_SECONDS])
def test_a_machine_hangs_when_s3_hears_nothing_from_it_whatever_its_clock_says(seen):
    told = beat("one").model_copy(update={"seen": seen, "heard": NOON})
    assert not hung([machine("one")], [told], NOON + HUNG_SECONDS)
    assert hung([machine("one")], [told], LATER)


def test_a_worker_that_leaves_anyway_is_the_first_to_go():
    machines = [machine("idle"), machine("draining")]
    beats = [beat("idle"), beat("draining", "a", state=WorkerState.DRAINING)]
    assert leaving(machines, beats, 1) == ["draining"]


def test_of_equals_the_youngest_leaves():
    machines = [machine("old", minute=1), machine("young", minute=2)]
    assert leaving(machines, [], 1) == ["young"]


def test_more_workers_are_counted_from_those_that_run():
    machines = [machine("a"), machine("gone", state="stopping")]
    assert plan_scale(machines, [], 3, NOON).more == 2


def test_a_run_that_has_the_number_is_left_alone():
    plan = plan_scale([machine("a"), machine("b")], [], 2, NOON)
    assert (plan.more, plan.leaving) == (0, ())


def test_workers_that_aws_does_not_end_are_an_error_and_those_that_go_are_none():
    plan = ScalePlan(1, leaving=(machine("stays"), machine("goes")))
    gone = Compute(Names("scans"), (machine("goes", state="stopping"), machine("wanted")), None)
    check_gone(plan, gone)
    with pytest.raises(ServiceError, match="1 worker that was asked to leave is still there"):
        check_gone(plan, Compute(Names("scans"), (machine("stays"), machine("wanted")), None))


@given(st.integers(0, 20), st.integers(0, 20))
def test_any_number_is_reached_exactly(there, wanted):
    plan = plan_scale([machine(str(n)) for n in range(there)], [], wanted, NOON)
    assert there + plan.more - len(plan.leaving) == wanted
    assert len({one.id for one in plan.leaving}) == len(plan.leaving)


def test_machines_that_hang_are_ended_and_not_counted():
    machines = [machine("silent"), machine("never"), machine("works")]
    beats = [beat("silent", "a"), beat("works", "b").model_copy(update={"seen": LATER})]
    plan = plan_scale(machines, beats, 2, LATER)
    assert [one.id for one in plan.hung] == ["silent", "never"]
    assert (plan.more, plan.leaving) == (1, ())


@given(st.floats(0, HUNG_SECONDS), st.sampled_from([WorkerState.BUSY, WorkerState.STARTING]))
def test_a_silence_that_clocks_could_explain_is_no_reason(silence, state):
    there = [machine("a"), machine("b")]
    assert hung(there, [beat("a", state=state)], NOON + silence) == ()


def test_a_machine_that_is_kept_after_its_worker_has_left_does_not_hang():
    assert hung([machine("a")], [beat("a", state=WorkerState.LEFT)], LATER) == ()
