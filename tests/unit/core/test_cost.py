import pytest

from parallelize_core import cost
from parallelize_core.charges import Charges
from parallelize_core.config import AgentConfig
from parallelize_core.heartbeat import Heartbeat, WorkerState


def heartbeat(*, hours, price, after=0.0, **charged):
    start = 10_000.0 + after * 3600
    return Heartbeat(
        worker="i-1", state=WorkerState.BUSY, started=start, seen=start + hours * 3600,
        interval_seconds=30, hourly_usd=price, charges=Charges(**charged) if charged else None,
    )  # fmt: skip


def test_a_run_has_cost_what_its_workers_cost_in_their_lives():
    workers = [heartbeat(hours=2, price=0.10), heartbeat(hours=0.5, price=0.20)]
    assert cost.spent_usd(workers) == pytest.approx(2 * 0.10 + 0.5 * 0.20)


def test_a_worker_without_a_price_adds_nothing():
    assert cost.spent_usd([heartbeat(hours=2, price=None)]) == 0


def test_a_clock_that_went_back_earns_no_money():
    assert cost.worker_usd(heartbeat(hours=-1, price=0.10)) == 0


def test_what_is_charged_beside_the_machines_is_part_of_what_a_run_has_cost():
    beside = {"address_usd": 0.01, "disk_usd": 0.02, "requests_usd": 0.4, "monitoring_usd": 0.08}
    workers = [heartbeat(hours=2, price=0.10, **beside), heartbeat(hours=1, price=0.10)]
    found = cost.spent(workers)
    assert (found.machines, found.addresses) == pytest.approx((0.3, 0.01))
    assert (found.disks, found.requests, found.monitoring) == pytest.approx((0.02, 0.4, 0.08))
    assert cost.spent_usd(workers) == pytest.approx(0.81)
    assert cost.worker_usd(workers[0]) == pytest.approx(0.71)


def test_metrics_are_paid_by_the_hour_however_many_workers_publish_them():
    def beat(after, hours):
        return heartbeat(hours=hours, price=None, after=after, metrics_hour_usd=0.0025)

    # From 0 to 3 by three workers that overlap, and from 5 to 6.
    workers = [beat(0, 2), beat(1, 2), beat(0.5, 1), beat(5, 1)]
    assert cost.spent(workers).monitoring == pytest.approx(4 * 0.0025)


def test_prices_come_through_the_configuration_by_market_type_and_zone():
    key = cost.price_key("spot", "c7i.xlarge", "eu-west-1a")
    config = AgentConfig(
        run="r", bucket="b", queue_url="q", dead_letter_queue_url="d", hourly_usd={key: 0.07}
    )
    read = AgentConfig.decode(config.encode(), "user data").hourly_usd
    assert cost.hourly_usd(read, "spot", "c7i.xlarge", "eu-west-1a") == 0.07
    assert cost.hourly_usd(read, "on-demand", "c7i.xlarge", "eu-west-1a") is None
