"""A launch plan as JSON."""

import json

from tests.unit.fleet.examples import facts, pools, request
from tests.unit.fleet.test_plan_gpus import with_gpus

from parallelize.fleet.plan import plan_launch
from parallelize.fleet.rates import shipped
from parallelize.fleet.show import plan_as_json


def as_json(given=None, **changes):
    plan = plan_launch(given or facts(), request(**changes))
    return json.loads(json.dumps(plan_as_json(plan)))


def test_it_has_what_is_asked_and_what_that_costs():
    told = as_json(facts(prices=shipped(), addresses=True), count=3, on_demand=1, max_cost=20.0)
    assert told["asked"] == {"spot": 2, "on-demand": 1}
    assert told["hourly_usd"] == [0.32, 0.32]
    assert told["beside_hourly_usd"] > 3 * 0.005
    assert told["max_cost_usd"] == 20.0
    assert {pool["type"] for pool in told["pools"]} == {"c7i.xlarge", "c6i.xlarge"}


def test_what_is_not_known_is_null():
    told = as_json(facts(pools=pools("c7i.xlarge", spot=None, on_demand=None)))
    assert (told["hourly_usd"], told["beside_hourly_usd"], told["placement_score"]) == (None,) * 3
    assert told["pools"][0]["spot_usd"] is None


def test_a_group_is_named_and_a_wait_has_its_price():
    assert as_json(fleet="persistent")["group"] == "parallelize-scans"
    assert as_json(below=0.01)["waits_below_usd"] == 0.01


def test_what_is_left_out_for_too_few_gpus_is_told():
    assert as_json(with_gpus(g5=1, c7i=0), gpus_per_job=1)["too_few_gpus"] == ["c7i.xlarge"]
    assert as_json()["too_few_gpus"] == []
