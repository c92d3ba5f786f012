"""Which machines a run with GPUs is launched on."""

from dataclasses import replace

import pytest
from tests.unit.fleet.examples import facts, only_fleet, overrides, pools, request

from parallelize.fleet.facts import Facts, Work
from parallelize.fleet.plan import plan_launch
from parallelize.fleet.show import describe_plan
from parallelize_core.errors import UsageError


def with_gpus(**kinds: int) -> Facts:
    """Return facts of a region whose types have that number of GPUs."""
    found = tuple(
        replace(pool, type=replace(pool.type, gpus=count))
        for name, count in kinds.items()
        for pool in pools(f"{name}.xlarge")
    )
    return facts(pools=found, work=Work(100), quotas=())


def test_types_with_too_few_gpus_are_left_out_and_named():
    plan = plan_launch(with_gpus(g5=1, c7i=0, g6=4), request(gpus_per_job=1))
    asked = {override["InstanceType"] for override in overrides(only_fleet(plan))}
    assert asked == {"g5.xlarge", "g6.xlarge"}
    assert "  left out c7i.xlarge: fewer GPUs than a job needs" in describe_plan(plan)


def test_a_launch_where_no_type_has_enough_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match="a job needs 2 GPUs") as told:
        plan_launch(with_gpus(g5=1, c7i=0), request(gpus_per_job=2))
    assert "g5.xlarge has 1, c7i.xlarge has none" in told.value.why
    assert "image build --base gpu" in told.value.fix


def test_a_run_without_gpus_takes_any_machine():
    plan = plan_launch(with_gpus(g5=1, c7i=0), request())
    assert plan.too_few_gpus == ()


def test_what_the_local_cloud_has_its_worker_finds_out():
    there = replace(with_gpus(c7i=0), emulated=True)
    assert plan_launch(there, request(gpus_per_job=1)).pools
