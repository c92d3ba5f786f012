import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fleet.examples import facts, request

from parallelize.fleet.plan import plan_launch
from parallelize.operations.estimate import hourly_usd, request_usd, sentences
from parallelize.runs.state.forecast import (
    Range,
    forecast,
    forecast_lane,
    mean_range,
    percentiles,
    share_range,
)
from parallelize_core.charges import Charges
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.lane import EXTRA, Lane
from parallelize_core.result import Result, Usage

numbers = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


def result(seconds, memory=1e9, status="succeeded"):
    return Result(
        run="r", key="k", attempt=1, worker="w", started_at="", finished_at="", status=status,
        usage=Usage(seconds=seconds, peak_memory_bytes=int(memory)),
    )  # fmt: skip


def test_equal_files_give_an_exact_forecast():
    told = forecast([result(36.0)] * 10, left=1000, slots=10, hourly_usd=0.5)
    assert (told.hours.low, told.hours.high) == pytest.approx((1.0, 1.0))
    assert told.usd.high == pytest.approx(0.5)


def test_an_unknown_price_gives_no_cost():
    assert forecast([result(1.0)], 10, 1, None).usd is None


def test_failures_in_the_sample_are_told():
    told = forecast([result(1.0), result(1.0, status="failed")], 10, 1, None)
    assert told.failed == 1
    assert "1 failed" in sentences(told, 1)[0]


def test_without_results_there_is_no_forecast():
    with pytest.raises(ValueError, match="at least one"):
        forecast([], 10, 1, None)


@given(numbers)
def test_percentiles_are_values_that_were_seen_and_in_order(values):
    found = percentiles(values)
    assert {found.p50, found.p95, found.most} <= set(values)
    assert found.p50 <= found.p95 <= found.most == max(values)


@given(numbers)
def test_the_range_holds_the_samples_mean(values):
    mean = sum(values) / len(values)
    found = mean_range(values)
    assert found.low <= mean * (1 + 1e-9) + 1e-9
    assert found.high >= mean * (1 - 1e-9) - 1e-9


def test_the_range_holds_the_true_mean_about_nine_times_out_of_ten():
    chance = random.Random(7)
    hits = 0
    for _ in range(1000):
        values = [chance.gauss(100, 20) for _ in range(30)]
        found = mean_range(values)
        hits += found.low <= 100 <= found.high
    assert 860 <= hits <= 940


def test_every_line_fits_on_a_terminal():
    told = forecast([result(1e5, memory=1e12)] * 3, 10**7, 4, 123.4)
    told = replace(told, lanes=tuple(forecast_lane(told, lane, 2, 123.4) for lane in EXTRA))
    assert all(len(line) <= 80 for line in sentences(told, 1000))


def test_what_moved_of_the_sample_tells_how_much_of_the_rest_will():
    told = forecast([result(60.0)] * 18, 1000, 1, 1.0)
    lane = forecast_lane(told, Lane.LARGE, 2, 0.5)
    assert lane.files.low < 100 < lane.files.high < 300
    assert lane.hours.high == pytest.approx(lane.files.high / 60)
    told = replace(told, lanes=(lane,))
    said = sentences(told, 1)[-2:]
    assert said[0].startswith("large    2 of 20 moved there; expect ")
    assert said[1].endswith(" on one machine at $0.50 an hour")


def test_that_none_of_a_small_sample_moved_does_not_say_that_none_will():
    lane = forecast_lane(forecast([result(60.0)] * 20, 1000, 1, 1.0), Lane.LARGE, 0)
    assert lane.files.low == 0
    assert 50 < lane.files.high < 200


@given(st.integers(1, 200).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_range_of_a_share_holds_that_of_the_sample(seen):
    hits, of = seen
    found = share_range(hits, of)
    assert 0 <= found.low <= hits / of <= found.high <= 1


@pytest.mark.parametrize(("seconds", "files"), [(599.0, 0), (600.0, 10)])
def test_the_steady_lane_gets_the_last_of_long_jobs(seconds, files):
    told = forecast([result(seconds)] * 20, 1000, 1, 1.0)
    lane = forecast_lane(told, Lane.STEADY, 0)
    assert lane.files == Range(files, files)
    last = sentences(replace(told, lanes=(lane,)), 1)[-2:]
    assert any("the last 1 %: 10 of the 1,000" in line for line in last) == bool(files)
    assert any("end too soon" in line for line in last) != bool(files)


def test_memory_that_was_not_measured_is_not_taken_for_none():
    assert forecast([result(1, memory=0)] * 3, 1, 1, None).memory is None
    told = forecast([result(1, memory=0), result(1, memory=5e8)], 1, 1, None)
    assert told.memory is not None
    assert told.memory.p50 == 5e8
    assert any("not known" in line for line in sentences(forecast([result(1, 0)], 1, 1, None), 1))


def test_the_requests_of_the_files_that_are_left_are_part_of_the_cost():
    told = forecast([result(0.036)] * 10, 1_000_000, 10, hourly_usd=0.5, request_usd=11e-6)
    assert told.requests_usd == pytest.approx(11.0)
    assert told.usd.low == pytest.approx(11.5)


def test_a_forecast_says_what_is_counted_and_what_is_not():
    text = " ".join(sentences(forecast([result(1.0)], 10, 1, 1.0), 1))
    assert "machines, addresses, disks, requests, metrics and log;" in text
    assert "not storage in S3" in text


def beat(hours, price=0.06, done=0, **charged):
    return Heartbeat(
        worker="i-1", state=WorkerState.LEFT, started=0, seen=hours * 3600, interval_seconds=30,
        hourly_usd=price, done=done, charges=Charges(**charged) if charged else None,
    )  # fmt: skip


def test_an_hour_of_a_worker_has_its_address_disk_metrics_and_log():
    plan = plan_launch(facts(), request())
    charged = {"address_usd": 0.01, "disk_usd": 0.012, "monitoring_usd": 0.004}
    hour = hourly_usd([beat(2, requests_usd=5.0, **charged)], plan)
    assert hour == pytest.approx(0.06 + 0.026 / 2)


def test_an_hour_of_a_worker_that_tells_of_its_machine_only_is_its_machines():
    assert hourly_usd([beat(2)], plan_launch(facts(), request())) == 0.06


def test_the_requests_of_a_file_are_those_of_the_sample():
    assert request_usd([beat(1, done=20, requests_usd=0.0004)]) == pytest.approx(0.00002)
    assert request_usd([beat(1)]) == 0
