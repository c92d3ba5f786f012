"""The rules of the simulated fleet: its limits bind when they should, and it loses no job."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bench.engine.charts import CHARTS, PAGE, draw
from tests.bench.fleet_simulation import outcome
from tests.bench.fleet_simulation.fleet import simulate
from tests.bench.fleet_simulation.inputs import FORMER, Costs, Design, Inputs, Limits, Prices, Scale
from tests.bench.fleet_simulation.meters import Meter, Partitions
from tests.bench.fleet_simulation.outcome import Outcome
from tests.bench.fleet_simulation.real_run import Compared, Small, compared, counted, simulated
from tests.bench.fleet_simulation.requests import Requests, of_a_job, of_a_look
from tests.bench.fleet_simulation.table import chart, duration, row, with_table

NOTHING_LIMITS = Limits(
    in_flight=10**12, partition_writes=1e12, partition_reads=1e12, launch_burst=10**9,
    metric_calls=1e12, interruptions_per_hour=0,
)  # fmt: skip
FREE = Costs(agent_cpu=0, isolation=0, request=0, sqs_request=0, listing=0, boot=0, entry_cpu=0)


def told(scale: Scale, costs: Costs = FREE, design: Design | None = None, **limits: Any) -> Outcome:
    """Simulate a fleet that only the limits given here limit."""
    inputs = Inputs(replace(NOTHING_LIMITS, **limits), Prices(), costs, design or Design())
    return simulate(scale, inputs)


def test_without_limits_the_makespan_is_that_of_the_commands() -> None:
    # 1,000 jobs of 2 s in 5 workers of 4 slots: 50 rounds of 2 s.
    run = told(Scale(1_000, 5, 2))
    assert run.makespan == pytest.approx(100)
    assert run.bottleneck == outcome.COMMANDS
    assert run.bound == {}


def test_a_run_worked_out_by_hand() -> None:
    # 80 jobs of 60 s in 2 workers of 4 slots: none is fetched ahead, so each round of 8 takes
    # 60 s + 0.5 s (agent) + 0.2 s (receive) + 0.3 s (input) = 61 s. Ten rounds after a boot of
    # 30 s: 640 s, and 0.6 s for the last output and its result.
    costs = replace(FREE, agent_cpu=0.5, sqs_request=0.2, request=0.3, boot=30)
    run = told(Scale(80, 2, 60), costs)
    assert run.makespan == pytest.approx(640.6)
    # Empty for 80 s, then the leader's look: its lists take no time here, 4 GETs take 1.2 s. The
    # other hears of it 10 s later, on average.
    assert run.gone == pytest.approx(640.6 + 80 + 1.2 + 10)
    # Paid from power-on to the end, by one of them for those 10 s more.
    assert run.worker_seconds == pytest.approx(2 * (640 + 0.6 + 80 + 1.2) + 10)


def test_the_requests_of_a_job_worked_out_by_hand() -> None:
    # 4 slots, 1 s: 4 ahead, so a receive brings (4 + 4) // 2 = 4. 4 jobs end in a second, of which
    # 0.4 come while the first waits 0.1 s for company: 1.4 a delete. No lease is renewed in 1 s.
    assert of_a_job(Scale(1, 1, 1), FREE).sqs == pytest.approx(1 / 4 + 1 / 1.4)
    # 60 s: none ahead, (4 + 0) // 2 = 2 a receive; one renewal after 40 s.
    assert of_a_job(Scale(1, 1, 60), FREE).sqs == pytest.approx(1 / 2 + 1 / (1 + 0.4 / 60) + 1)
    job = of_a_job(Scale(1, 1, 1), FREE)
    assert (job.puts, job.gets) == (2, 1)


def test_what_requests_cost_worked_out_by_hand() -> None:
    # A thousand each: 0.005 for PUTs, as much for LISTs, 0.0004 for GETs, 0.0004 for SQS.
    thousand = Requests(puts=1000, gets=1000, lists=1000, sqs=1000, metrics=1000)
    assert thousand.usd(Prices()) == pytest.approx(0.005 + 0.005 + 0.0004 + 0.0004 + 0.01)


@pytest.mark.parametrize(("most", "busy"), [(4_000, 4), (350, 3.5)])
def test_no_more_is_in_flight_than_sqs_allows(most: int, busy: float) -> None:
    run = told(Scale(10_000, 100, 60), in_flight=most)
    assert run.peak_in_flight <= most
    assert (run.first_limit == outcome.IN_FLIGHT) is (busy < 4)


def test_a_second_queue_lifts_the_limit_of_the_first() -> None:
    one, two = (
        told(Scale(10_000, 100, 60), design=Design(queues=queues), in_flight=210)
        for queues in (1, 2)
    )
    assert one.makespan == pytest.approx(2 * two.makespan, rel=0.1)
    assert two.bottleneck == outcome.COMMANDS


def test_writes_of_one_partition_bound_the_rate_until_it_is_split() -> None:
    # 40 jobs a second want 80 writes, and there are 20: ten jobs a second.
    run = told(Scale(4_000, 10, 1), partition_writes=20, split_seconds=math.inf)
    assert run.makespan == pytest.approx(400)
    assert run.first_limit == run.bottleneck == outcome.WRITES
    split = told(Scale(4_000, 10, 1), partition_writes=20, split_seconds=100)
    assert 100 < split.makespan < 300
    assert split.partitions > 1


def test_reads_of_one_partition_bound_the_rate() -> None:
    run = told(Scale(4_000, 10, 1), partition_reads=10, split_seconds=math.inf)
    assert run.makespan == pytest.approx(400)
    assert run.first_limit == outcome.READS


def test_jobs_that_lie_together_are_served_by_as_many_partitions_as_they_lie_in() -> None:
    limits = replace(NOTHING_LIMITS, partition_writes=20, split_seconds=50)
    together, apart = (
        simulate(Scale(40_000, 10, 1), Inputs(limits, costs=FREE, design=Design(spread=spread)))
        for spread in (1, 4)
    )
    assert together.partitions == 2  # outputs and results
    assert apart.partitions >= 4  # what 80 writes a second need
    assert together.makespan > 1.5 * apart.makespan


def test_workers_come_as_fast_as_ec2_has_tokens() -> None:
    # 64 workers, 4 at once: the last comes after 60 s of its tokens.
    run = told(Scale(64 * 4 * 100, 64, 1), launch_burst=4, launches_per_second=1)
    assert run.first_limit == outcome.LAUNCH
    assert 100 < run.makespan < 160
    lost = sum(range(61)) * 4
    assert run.slot_seconds[outcome.LAUNCH] == pytest.approx(lost)


def test_more_metrics_than_cloudwatch_takes_are_noticed() -> None:
    # A heartbeat of each worker in 30 s.
    assert told(Scale(600, 60, 60), metric_calls=1.9).first_limit == outcome.METRICS
    assert told(Scale(600, 60, 60), metric_calls=2.1).first_limit == ""


def test_a_look_of_all_workers_is_bound_by_the_lists_that_s3_answers() -> None:
    scale = Scale(100_000, 1_000, 1)
    costs = replace(FREE, listing=0.1)
    all_look = told(scale, costs, FORMER, partition_reads=5500)
    one_looks = told(scale, costs, partition_reads=1e12)
    lists = of_a_look(scale.jobs).lists
    assert all_look.gone - all_look.makespan == pytest.approx(80 + 999 * lists / 5500)
    assert outcome.LOOK_READS in all_look.bound
    assert one_looks.gone - one_looks.makespan == pytest.approx(80 + 0.1 * lists + 10)
    assert all_look.requests.lists - one_looks.requests.lists > 900 * lists


def test_a_look_needs_memory_for_every_result() -> None:
    fits = told(Scale(1_000, 1, 1), replace(FREE, memory=1_000 * FREE.key_bytes))
    assert fits.bound == {}
    tight = told(Scale(1_001, 1, 1), replace(FREE, memory=1_000 * FREE.key_bytes))
    assert tight.first_limit == outcome.LOOK_MEMORY


def test_messages_do_not_outlive_their_retention() -> None:
    assert told(Scale(100, 1, 1), retention=24).first_limit == outcome.RETENTION
    assert told(Scale(100, 1, 1), retention=26).first_limit == ""


def test_long_jobs_of_interrupted_machines_begin_again_and_short_ones_end_in_time() -> None:
    long, short = (
        told(Scale(5_000, 100, seconds), interruptions_per_hour=2) for seconds in (600, 60)
    )
    assert long.repeated > 0
    assert short.repeated == 0
    assert long.done == short.done == 5_000


def test_without_replacement_jobs_stay_in_the_queue_and_are_not_lost() -> None:
    limits = replace(NOTHING_LIMITS, interruptions_per_hour=60)
    run = simulate(Scale(10_000, 3, 60), Inputs(limits, costs=FREE, replaced=False))
    assert run.left > 0
    assert run.done + run.left == 10_000


@settings(deadline=None, max_examples=50)
@given(
    st.builds(
        Scale, st.integers(1, 5_000), st.integers(1, 200), st.sampled_from([1, 60, 600]),
        st.integers(1, 16),
    ),
    st.integers(500, 5_000), st.floats(50, 1e4), st.floats(0, 1), st.integers(0, 9),
)  # fmt: skip
def test_whatever_limits_it_no_job_is_lost_and_the_same_seed_gives_the_same_run(
    scale: Scale, in_flight: int, writes: float, interruptions: float, seed: int
) -> None:
    limits = Limits(
        in_flight=in_flight, partition_writes=writes, interruptions_per_hour=interruptions
    )
    inputs = Inputs(limits)
    run = simulate(scale, inputs, seed)
    assert run.done == scale.jobs
    assert run.left == 0
    assert run.peak_in_flight <= in_flight
    ideal = math.ceil(scale.jobs / (scale.workers * scale.slots)) * scale.job_seconds
    assert run.makespan >= inputs.costs.boot + min(ideal, scale.job_seconds)
    assert simulate(scale, inputs, seed) == run


def test_another_seed_gives_another_run() -> None:
    inputs = Inputs(Limits(interruptions_per_hour=1))
    assert simulate(Scale(5_000, 50, 600), inputs, 1) != simulate(Scale(5_000, 50, 600), inputs, 2)


def test_a_meter_serves_what_comes_in_time_without_delay_and_the_rest_later() -> None:
    meter = Meter(10)
    assert meter.take(0, 10, 100) == 10
    assert meter.take(0, 10, 50) == 15
    assert meter.take(100, 101, 5) == 101


def test_a_partition_that_has_had_a_rest_is_not_split() -> None:
    keys = Partitions(10, places=8, split_seconds=60)
    for at in (0, 50):
        keys.take(at, at + 1, 100)
    keys.take(55, 80, 1)  # in time: what was overloaded is not any more
    keys.take(90, 91, 500)
    assert keys.partitions == 1
    keys.take(150, 151, 500)
    assert keys.partitions == 2


def test_what_was_counted_is_told_by_kind_and_an_unknown_call_is_an_error() -> None:
    calls = {"PutObject": {"count": 3.0}, "HeadObject": {"count": 1.0}, "GetObject": {"count": 2.0}}
    assert counted(calls) == Requests(puts=3, gets=3)
    with pytest.raises(KeyError):
        counted({"CreateBucket": {"count": 1.0}})


def test_a_comparison_has_makespan_requests_and_cost_by_the_job() -> None:
    ours = Small(10, Requests(puts=20, gets=10))
    theirs = Small(15, Requests(puts=20, gets=30))
    figures = {each.name: each for each in compared(Scale(10, 2, 1), ours, theirs, Prices())}
    assert figures["makespan, s"].ratio == 1.5
    assert figures["puts a job"].ratio == 1
    assert figures["gets a job"].ratio == 3
    assert "lists a job" not in figures
    assert (figures["requests a job"].simulated, figures["requests a job"].measured) == (3, 5)
    dollars = figures["machines, $ a million jobs"]
    assert dollars.simulated == pytest.approx(2 * 10 / 3600 * Prices().machine_hour * 1e5)
    assert Compared("x", 0, 1).ratio == math.inf


def test_a_small_run_is_simulated_with_workers_that_are_there_already() -> None:
    # Two workers of 4 slots do 80 jobs of 1 s in ten rounds.
    small = simulated(Scale(80, 2, 1), Inputs(costs=replace(FREE, boot=60)))
    assert small.makespan == pytest.approx(10)
    assert small.requests.puts >= 160


def test_100_million_jobs_of_10_000_workers_are_few_events() -> None:
    run = simulate(Scale(100_000_000, 10_000, 1), Inputs())
    assert run.done == 100_000_000


def test_a_row_says_what_became_of_a_run() -> None:
    cells = row(told(Scale(1_000, 5, 2))).split(" | ")
    assert cells[:6] == ["| 1,000", "5", "2 s", "100 s", "3.2 min", "commands"]
    assert cells[6] == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(119, "119 s"), (120, "2.0 min"), (7200, "2.0 h"), (1e6, "11.6 days"), (1e8, "3.2 years")],
)
def test_a_duration_is_a_small_number(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_page_has_the_table_and_the_chart_that_the_simulation_gives() -> None:
    page = PAGE.read_text()
    assert with_table(page, Inputs()) == page
    drawn = chart(Inputs())
    assert (CHARTS / f"{drawn.name}.svg").read_text() == draw(drawn)
    assert f"performance/{drawn.name}.svg" in page
