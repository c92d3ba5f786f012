import pytest

from parallelize_core import cost
from parallelize_core.config import AgentConfig
from parallelize_core.heartbeat import Heartbeat, WorkerState


def heartbeat(*, hours, price):
    return Heartbeat(
        worker="i-1", state=WorkerState.BUSY, started=10_000.0, seen=10_000.0 + hours * 3600,
        interval_seconds=30, hourly_usd=price,
    )  # fmt: skip


def test_a_run_has_cost_what_its_workers_cost_in_their_lives():
    workers = [heartbeat(hours=2, price=0.10), heartbeat(hours=0.5, price=0.20)]
    assert cost.spent_usd(workers) == pytest.approx(2 * 0.10 + 0.5 * 0.20)


def test_a_worker_without_a_price_adds_nothing():
    assert cost.spent_usd([heartbeat(hours=2, price=None)]) == 0


def test_a_clock_that_went_back_earns_no_money():
    assert cost.worker_usd(heartbeat(hours=-1, price=0.10)) == 0


def test_prices_come_through_the_configuration_by_market_type_and_zone():
    key = cost.price_key("spot", "c7i.xlarge", "eu-west-1a")
    config = AgentConfig(
        run="r", bucket="b", queue_url="q", dead_letter_queue_url="d", hourly_usd={key: 0.07}
    )
    read = AgentConfig.decode(config.encode(), "user data").hourly_usd
    assert cost.hourly_usd(read, "spot", "c7i.xlarge", "eu-west-1a") == 0.07
    assert cost.hourly_usd(read, "on-demand", "c7i.xlarge", "eu-west-1a") is None
