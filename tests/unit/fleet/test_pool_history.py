"""Pools that took machines of the run back are left out of the next launch."""

import pytest
from tests.unit.fleet.examples import ZONES, facts, pools, request

from parallelize.fleet.facts import Interruptions
from parallelize.fleet.plan import plan_launch
from parallelize.fleet.pool_choice import WINDOW_HOURS, history
from parallelize.fleet.show import describe_plan
from parallelize_core.heartbeat import SPOT_NOTICE, Heartbeat, WorkerState

NOW = 1_800_000_000.0
A, B, C = ZONES


def beat(zone=A, *, reason="", kind="c7i.xlarge", ago=0.0, market="spot"):
    return Heartbeat(
        worker="i-1", state=WorkerState.LEFT, started=NOW - ago - 60, seen=NOW - ago,
        interval_seconds=60, type=kind, zone=zone, market=market, reason=reason,
    )  # fmt: skip


def interrupted(zone=A, **more):
    return beat(zone, reason=f"{SPOT_NOTICE}: terminate at 2026-11-29T10:00:00Z", **more)


def took(zone, times, workers, kind="c7i.xlarge"):
    return Interruptions(kind, zone, times, workers)


def asked(plan):
    (fleet,) = plan.fleets
    return {
        (one["InstanceType"], one["SubnetId"][-1])
        for config in fleet.body["LaunchTemplateConfigs"]
        for one in config["Overrides"]
    }


EVERY = {(kind, zone[-1]) for kind in ("c7i.xlarge", "c6i.xlarge") for zone in ZONES}


def test_a_history_counts_the_spot_workers_of_each_pool_and_those_that_were_interrupted():
    beats = [beat(), interrupted(), interrupted(), beat(B), beat(kind="c6i.xlarge")]
    assert history(beats, NOW) == (
        took(A, 0, 1, "c6i.xlarge"), took(A, 2, 3), took(B, 0, 1),
    )  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        interrupted(ago=WINDOW_HOURS * 3600 + 1),
        beat(market="on-demand"),
        beat(kind=""),
    ],
    ids=["long ago", "on-demand", "no EC2"],
)
def test_what_says_nothing_of_the_spot_market_now_is_no_part_of_it(other):
    assert history([other], NOW) == ()


def test_a_worker_of_a_former_version_that_does_not_tell_its_market_counts():
    assert history([interrupted(market="")], NOW) == (took(A, 1, 1),)


def test_a_pool_that_took_machines_back_is_not_asked_and_the_plan_says_why():
    plan = plan_launch(facts(history=(took(B, 3, 4), took(A, 0, 5))), request())
    assert asked(plan) == EVERY - {("c7i.xlarge", "b")}
    assert (
        "  left out c7i.xlarge in eu-west-1b: 3 of 4 workers interrupted within 6 h"
        in describe_plan(plan)
    )


@pytest.mark.parametrize("seen", [took(B, 1, 1), took(B, 2, 7), took("us-east-1a", 5, 5)])
def test_one_interruption_few_of_many_or_those_elsewhere_change_nothing(seen):
    plan = plan_launch(facts(history=(seen,)), request())
    assert asked(plan) == EVERY
    assert not any("left out" in line for line in describe_plan(plan))


def test_half_of_the_pools_stay_the_better_ones_whatever_happened():
    seen = (
        took(A, 2, 4), took(B, 3, 3), took(C, 2, 2),
        took(A, 9, 10, "c6i.xlarge"), took(B, 2, 6, "c6i.xlarge"),
    )  # fmt: skip
    plan = plan_launch(facts(history=seen), request())
    assert asked(plan) == EVERY - {("c7i.xlarge", "b"), ("c7i.xlarge", "c"), ("c6i.xlarge", "a")}


def test_the_only_pool_there_is_stays():
    given = facts(pools=pools("c7i.xlarge")[:1], history=(took(A, 5, 5),))
    assert asked(plan_launch(given, request())) == {("c7i.xlarge", "a")}


def test_on_demand_machines_start_where_spot_ones_were_interrupted():
    plan = plan_launch(facts(history=(took(B, 3, 4),)), request(market="on-demand"))
    assert asked(plan) == EVERY
    assert plan.left_out == ()


def test_a_fallback_asks_all_pools():
    plan = plan_launch(facts(history=(took(B, 3, 4),)), request(fallback=True))
    (config,) = plan.fallback.body["LaunchTemplateConfigs"]
    assert len(config["Overrides"]) == len(EVERY)


def test_a_group_leaves_no_pool_out_and_says_nothing_of_it():
    plan = plan_launch(facts(history=(took(B, 3, 4),)), request(fleet="persistent"))
    assert plan.left_out == ()


def test_an_image_whose_pools_are_all_left_out_has_no_template_in_the_request():
    both = (*pools("c7i.xlarge"), *pools("c7g.xlarge", architecture="arm64"))
    arm = facts().image.__class__("ami-2", "arm64", "/dev/xvda")
    seen = tuple(took(zone, 2, 2, "c7g.xlarge") for zone in ZONES)
    plan = plan_launch(facts(pools=both, others=(arm,), history=seen), request())
    (fleet,) = plan.fleets
    assert len(fleet.templates) == len(fleet.body["LaunchTemplateConfigs"]) == 1
    assert {kind for kind, _ in asked(plan)} == {"c7i.xlarge"}


def test_many_pools_that_are_left_out_are_counted():
    names = tuple(f"c{n}i.xlarge" for n in range(4))
    seen = tuple(took(zone, 2, 2, name) for name in names[:2] for zone in ZONES)
    lines = describe_plan(plan_launch(facts(pools=pools(*names), history=seen), request()))
    assert sum("left out" in line for line in lines) == 3
    assert "           and 3 more pools" in lines
