from pathlib import Path

import pytest
from tests.unit.fleet.examples import SPOT_STANDARD, ZONES, facts, pool, pools, request

from parallelize.console import say_plan
from parallelize.fleet.disk import Disk
from parallelize.fleet.facts import Quota, Work
from parallelize.fleet.leftovers import Leftover
from parallelize.fleet.plan import plan_launch
from parallelize.fleet.rates import shipped
from parallelize.fleet.show import describe_leftovers, describe_plan
from parallelize.setting_tables import DEFAULT_TYPES
from parallelize_core.config import MAX_USER_DATA_BYTES

DRY_RUN_COLUMNS = len("(dry run) ")


def lines(given=None, **changes):
    return describe_plan(plan_launch(given or facts(), request(**changes)))


def test_a_plan_says_what_it_costs_and_where_it_stops():
    text = "\n".join(lines(count=2, max_cost=20.0))
    assert "launch 2 spot workers in eu-west-1 for run scans" in text
    assert "$0.14/h together now, stops at $20.00 or 12 h" in text
    assert "8 of 64 free spot vCPUs (L-34B43A08)" in text
    assert "parallelize 0.1.0 (built 2026-11-18)" in text


def thousand():
    """A thousand machines of the default types in three zones, at made-up prices."""
    kinds = tuple(
        pool(name, zone, spot=0.06 + 0.002 * number, on_demand=0.17)
        for number, name in enumerate(DEFAULT_TYPES)
        for zone in ZONES
    )
    given = facts(
        pools=kinds, work=Work(40_000), quotas=(Quota(SPOT_STANDARD, 8000, 120),),
        prices=shipped(), addresses=True,
    )  # fmt: skip
    wanted = request(count=1000, types=DEFAULT_TYPES, max_cost=500.0, fallback=True)
    return plan_launch(given, wanted)


def test_the_plan_for_a_thousand_machines_in_the_docs_is_the_one_that_is_printed(capsys):
    for line in describe_plan(thousand()):
        say_plan(line)
    printed = capsys.readouterr().err
    page = (Path(__file__).parents[3] / "docs/cost.md").read_text()
    assert printed in page
    assert "launch 1,000 spot workers" in printed


def test_a_thousand_machines_of_twelve_types_in_three_zones_are_one_call():
    plan = thousand()
    (fleet,) = plan.fleets
    (config,) = fleet.body["LaunchTemplateConfigs"]
    assert len({one["InstanceType"] for one in config["Overrides"]}) == 12
    assert len({one["SubnetId"] for one in config["Overrides"]}) == 3
    assert len(config["Overrides"]) == 36
    assert len(plan.user_data.encode()) < MAX_USER_DATA_BYTES


def test_a_plan_tells_of_a_fast_disk_and_of_further_security_groups():
    text = "\n".join(lines(disk=Disk(100, 8000, 500), security_groups=("sg-7",)))
    assert "disk     100 GiB, 8,000 IOPS, 500 MiB/s" in text
    assert "sg-1, made by setup: no inbound rules" in text
    assert "groups   sg-7, of workers.security_groups" in text


def test_what_is_not_known_is_not_shown_as_nothing():
    unpriced = facts(pools=pools("c7i.xlarge", spot=None), quotas=())
    text = "\n".join(lines(unpriced))
    assert "price    not known" in text
    assert "the quota is not known" in text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_cost": 1000.0, "count": 500, "on_demand": 100, "fallback": True},
        {"fleet": "persistent", "autoscale": True, "count": 1000},
    ],
)
def test_every_line_of_a_plan_fits_beside_its_mark(changes):
    given = facts(
        work=Work(5000),
        pools=pools(*(f"c{n}id.24xlarge" for n in range(12))),
        quotas=(Quota(SPOT_STANDARD, 100_000, 0),),
        prices=shipped(),
        addresses=True,
    )
    assert all(len(line) + DRY_RUN_COLUMNS <= 80 for line in lines(given, **changes))


def test_leftovers_are_told_with_age_and_cost():
    machine = Leftover("machine", "i-1", "scans", hours=30.4, usd=5.472)
    group = Leftover("group", "parallelize-old", "old", hours=0)
    assert describe_leftovers([machine, group]) == [
        "left by run scans: machine i-1, 30 h old, at most $5.47",
        "left by run old: group parallelize-old, 0 h old",
    ]


def test_nothing_left_is_said_too():
    assert describe_leftovers([]) == ["no machine, group or volume of any run is left"]


def test_a_plan_says_which_price_is_of_the_table_that_ships():
    listed = facts(pools=pools("c7i.xlarge", by_table=True))
    assert any("on demand: the built-in prices of 2026-07 for us-east-1" in line
               for line in lines(listed, market="on-demand"))  # fmt: skip
    assert not any("on demand:" in line for line in lines(listed))
    assert not any("on demand:" in line for line in lines(market="on-demand"))
