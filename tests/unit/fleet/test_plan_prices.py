"""What a plan says of prices, and which pools and launches they rule out."""

from dataclasses import replace

import pytest
from tests.unit.fleet.examples import ZONES, facts, only_fleet, overrides, pool, pools, request

from parallelize.fleet.disk import Disk
from parallelize.fleet.facts import Work
from parallelize.fleet.plan import plan_launch
from parallelize.fleet.rates import shipped
from parallelize_core.config import AgentConfig
from parallelize_core.errors import LimitError, UsageError


def test_the_price_is_between_the_cheapest_and_the_dearest_pool():
    given = facts(pools=(pool(spot=0.05), pool("m7i.xlarge", spot=0.09)))
    assert plan_launch(given, request(count=10)).hourly_usd == pytest.approx((0.5, 0.9))


def test_a_pool_without_a_price_counts_as_the_dearest_for_the_cost_limit():
    given = facts(
        pools=(pool(spot=0.07), pool("c6i.xlarge", spot=0.09), pool("c5.xlarge", spot=None))
    )
    config = AgentConfig.decode(plan_launch(given, request()).user_data, "user data")
    assert config.hourly_usd["spot c5.xlarge eu-west-1a"] == 0.09


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_a_cost_limit_without_any_price_is_refused_unless_forced(market):
    given = facts(pools=(pool(spot=None, on_demand=None),), quotas=())
    wanted = request(max_cost=20, market=market)
    with pytest.raises(LimitError, match=f"cannot be enforced: no {market} price is known"):
        plan_launch(given, wanted)
    plan_launch(given, replace(wanted, force=True))
    plan_launch(replace(given, emulated=True), wanted)


def test_a_cost_limit_is_refused_if_the_price_of_the_fallback_is_not_known_unless_forced():
    # On-demand machines without a price would count as nothing in what the run has spent.
    given = facts(pools=pools("c7i.xlarge", on_demand=None))
    wanted = request(max_cost=20, fallback=True)
    with pytest.raises(LimitError, match="cannot be enforced: no on-demand price is known"):
        plan_launch(given, wanted)
    plan_launch(given, replace(wanted, force=True))
    plan_launch(given, replace(wanted, fallback=False))
    plan_launch(replace(given, emulated=True), wanted)


def test_who_has_no_price_is_told_where_prices_are_from_and_what_to_allow():
    given = facts(pools=(pool(spot=None, on_demand=None),), quotas=())
    with pytest.raises(LimitError) as told:
        plan_launch(given, request(max_cost=20, market="on-demand"))
    assert "in eu-west-1, or you may not read it" in told.value.why
    assert "prices are for us-east-1" in told.value.why
    assert "allow pricing:GetProducts" in told.value.fix


def test_without_any_spot_price_there_is_nothing_to_wait_for():
    given = facts(pools=(pool(spot=None),))
    with pytest.raises(UsageError, match="no spot price is known"):
        plan_launch(given, request(below=0.05))


def test_a_pool_without_a_price_is_not_taken_for_a_cheap_one():
    given = facts(pools=(pool(spot=None), pool("c6i.xlarge", spot=0.04)))
    plan = plan_launch(given, request(below=0.05))
    assert plan.dear is None
    assert [one["InstanceType"] for one in overrides(only_fleet(plan))] == ["c6i.xlarge"]


def test_a_price_of_exactly_the_limit_is_not_below_it():
    given = facts(pools=(pool(spot=0.05),))
    assert plan_launch(given, request(below=0.05)).dear
    assert plan_launch(given, request(below=0.0501)).dear is None


def test_of_types_that_nobody_named_the_forty_cheapest_are_asked():
    names = tuple(f"c{n}x.xlarge" for n in range(60))
    many = tuple(
        pool(name, zone, spot=1 - n / 100) for n, name in enumerate(names) for zone in ZONES
    )
    given = facts(pools=many)
    plan = plan_launch(given, request(types=names, by_requirements=True))
    assert {one.type.name for one in plan.pools} == set(names[20:])
    assert len({one.type.name for one in plan_launch(given, request(types=names)).pools}) == 60


def test_a_price_that_cannot_be_read_is_not_guessed():
    given = facts(pools=(pool(spot=None),))
    assert plan_launch(given, request()).hourly_usd is None


def test_addresses_and_disks_of_all_machines_are_told_beside_their_price():
    given = facts(prices=shipped(), addresses=True)
    beside = plan_launch(given, request(count=10, disk=Disk(100))).beside
    assert beside.addresses == pytest.approx(10 * 0.005)
    assert beside.disks == pytest.approx(10 * 100 * 0.08 / 730)


def test_machines_in_private_subnets_pay_for_no_address():
    assert plan_launch(facts(prices=shipped()), request()).beside.addresses == 0


def test_workers_count_with_the_prices_of_their_own_disk():
    plan = plan_launch(facts(prices=shipped()), request(disk=Disk(200)))
    rates = AgentConfig.decode(plan.user_data, "user data").rates
    assert rates.disk_hour == pytest.approx(200 * 0.08 / 730, abs=1e-6)
    assert rates.s3_write == 0.000005


def test_where_nothing_is_charged_workers_count_nothing():
    plan = plan_launch(facts(prices=shipped(), emulated=True), request())
    assert plan.beside is None
    assert AgentConfig.decode(plan.user_data, "user data").rates is None


def test_addresses_and_disks_count_when_a_cost_limit_would_end_the_launch_at_once():
    given = facts(prices=shipped(), addresses=True, work=Work(5000), quotas=())
    # 1,000 machines at 7 cents are $17.50 for a quarter of an hour, and $2.62 the rest.
    wanted = request(count=1000, max_cost=19.0)
    with pytest.raises(LimitError, match="cost limit"):
        plan_launch(given, wanted)
    assert plan_launch(replace(given, prices=None), wanted)


def test_pools_are_shown_cheapest_first_and_unknown_prices_last():
    given = facts(pools=(pool("a.xlarge", spot=None), pool("b.xlarge", spot=0.2), pool(spot=0.1)))
    names = [p.type.name for p in plan_launch(given, request()).pools]
    assert names == ["c7i.xlarge", "b.xlarge", "a.xlarge"]
