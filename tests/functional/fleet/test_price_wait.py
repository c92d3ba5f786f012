"""`launch --when-below`: waits for a price, starts nothing before, and asks only cheap pools."""

import json
import time

import pytest
from tests.strict_aws.call import Refusal
from tests.strict_aws.rules.market import SpotPrices

POOLS = [(kind, f"eu-west-1{zone}") for kind in ("c7i.xlarge", "c6i.xlarge") for zone in "abc"]
CHEAP = ("c6i.xlarge", "eu-west-1b")
HOUR = 3600


@pytest.fixture
def prices(account):
    """Every pool costs 7 cents, and one 4 after an hour."""
    rule = account.strict.rule(SpotPrices)
    for pool in POOLS:
        rule.from_now(*pool, (0, 0.07))
    rule.from_now(*CHEAP, (0, 0.07), (HOUR, 0.04))
    return rule


@pytest.fixture
def scans(account, prices):
    return account.prepare("scans")


LAUNCH = ("launch", "3", "--run", "scans", "--when-below")


def pools(account):
    return {
        (one["InstanceType"], one["Placement"]["AvailabilityZone"])
        for one in account.machines("scans")
    }


def test_a_launch_waits_for_a_price_and_asks_only_pools_below_it(account, scans, parallelize):
    clock = account.strict.world.clock
    code, _, err = parallelize(*LAUNCH, "0.05")
    assert code == 0, err
    assert "waits    until a spot worker costs less than $0.05/h; now $0.07/h (c6i.xlarge" in err
    assert "below    $0.05/h: 1 pool now" in err
    assert pools(account) == {CHEAP}
    assert HOUR <= clock.slept < HOUR + 300


def test_a_price_that_is_right_already_is_not_waited_for(account, scans, parallelize):
    code, out, err = parallelize(*LAUNCH, "0.08", "--json")
    assert code == 0, err
    assert "waits" not in err
    assert json.loads(out)["waited_seconds"] < 60


def test_the_json_says_how_long_it_took(scans, parallelize):
    _, out, _ = parallelize(*LAUNCH, "0.05", "--json")
    answer = json.loads(out)
    assert HOUR <= answer["waited_seconds"] < HOUR + 300
    assert len(answer["started"]) == 3


def test_a_dry_run_says_what_would_be_waited_for_and_does_not_wait(account, scans, parallelize):
    code, _, err = parallelize(*LAUNCH, "0.05", "--dry-run")
    assert code == 0
    assert "(dry run)   waits    until a spot worker costs less than $0.05/h" in err
    assert account.strict.world.clock.slept < 60


def test_a_wait_tells_of_prices_that_change_and_that_it_goes_on(scans, prices, parallelize):
    prices.from_now(*CHEAP, (0, 0.07), (HOUR / 2, 0.06), (HOUR, 0.04))
    _, _, err = parallelize(*LAUNCH, "0.05")
    told = [line for line in err.splitlines() if "waiting; now" in line]
    assert sum("$0.06/h (c6i.xlarge in eu-west-1b)" in line for line in told) >= 1
    # Each ten minutes, and at each change.
    assert 4 <= len(told) <= 8


def test_ctrl_c_ends_a_wait_and_nothing_was_started(account, scans, parallelize, monkeypatch):
    sleep = time.sleep

    def press(seconds):
        sleep(seconds)
        if account.strict.world.clock.slept > HOUR / 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", press)
    code, _, err = parallelize(*LAUNCH, "0.05")
    assert code == 130
    assert "interrupted; nothing was started" in err
    assert account.machines("scans") == []
    assert account.client("ec2").describe_launch_templates()["LaunchTemplates"] == []


def test_a_run_that_is_done_meanwhile_is_waited_for_no_longer(
    account, scans, prices, parallelize, monkeypatch
):
    sleep = time.sleep

    def work(seconds):
        sleep(seconds)
        if seconds >= 60:
            account.finish("scans")

    monkeypatch.setattr(time, "sleep", work)
    prices.from_now(*CHEAP, (0, 0.07))
    code, _, err = parallelize(*LAUNCH, "0.05")
    assert code == 3
    assert "nothing to do: the queue is empty (10 files done, 0 failed)" in err


def test_a_look_that_fails_for_a_while_is_made_again(
    account, scans, prices, parallelize, monkeypatch
):
    answer = prices.before

    def out_of_service(call):
        looks = call.operation == "DescribeSpotPriceHistory"
        if looks and HOUR / 2 < account.strict.world.clock.slept < HOUR:
            raise Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
        return answer(call)

    monkeypatch.setattr(prices, "before", out_of_service)
    code, _, err = parallelize(*LAUNCH, "0.05")
    assert code == 0, err
    assert "waiting; now not known: AWS keeps refusing DescribeSpotPriceHistory" in err
    assert pools(account) == {CHEAP}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("0",), "takes a price in USD an hour, above 0"),
        (("0.05", "--market", "on-demand"), "waits for spot prices, but no spot worker"),
        (("0.05", "--fleet", "persistent"), "cannot wait"),
    ],
)
def test_what_cannot_be_waited_for_is_refused_at_once(scans, parallelize, words, told):
    code, _, err = parallelize(*LAUNCH, *words)
    assert code == 2
    assert told in " ".join(err.split())


def test_other_refusals_of_a_launch_come_before_the_wait(account, scans, parallelize):
    code, _, err = parallelize("launch", "11", "--when-below", "0.05", "--run", "scans")
    assert code == 2
    assert "11 workers for 10 files" in err
    assert account.strict.world.clock.slept < 60


def test_on_demand_workers_of_the_launch_may_start_anywhere(account, scans, parallelize):
    code, _, err = parallelize(*LAUNCH, "0.05", "--on-demand", "2")
    assert code == 0, err
    spot = [one for one in account.machines("scans") if one.get("InstanceLifecycle") == "spot"]
    assert [(one["InstanceType"], one["Placement"]["AvailabilityZone"]) for one in spot] == [CHEAP]
    assert len(account.machines("scans")) == 3
