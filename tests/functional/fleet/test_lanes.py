"""Workers for a lane: launched, scaled, in a group of their own, ended; under AWS's refusals."""

import json
from pathlib import Path

import pytest
from tests.functional.fleet.conftest import BUCKET

from parallelize.lanes import STEADY_JOB_SECONDS
from parallelize_core.config import AgentConfig, SteadyStart
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.job import JobMessage
from parallelize_core.lane import EXTRA, Lane
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Cursor
from parallelize_core.names import Names
from parallelize_core.queue import Queue

SETTINGS = """
[workers.large]
types = ["r7i.4xlarge"]

[workers.steady]
count = 2
"""
LARGE = Names("scans").of_lane(Lane.LARGE)


def job(number):
    return JobMessage(run="scans", key=f"{number}.txt", size=1).encode()


@pytest.fixture
def lanes(account, tmp_path: Path) -> dict[Lane, Queue]:
    """The queues of a run with both lanes."""
    (tmp_path / "parallelize.toml").write_text(SETTINGS)
    queues = account.prepare("scans", lanes=EXTRA)
    return {lane: queues.of(lane) for lane in Lane}


@pytest.fixture
def call(parallelize):
    """Run a command on the run."""

    def run(*words):
        return parallelize(*words, "--run", "scans")

    return run


def lane_of(machine):
    return {tag["Key"]: tag["Value"] for tag in machine["Tags"]}.get("parallelize:lane")


def test_workers_of_a_lane_are_what_its_table_says(account, lanes, call):
    lanes[Lane.LARGE].send([job(1)])
    assert call("launch", "--lane", "large")[0] == 0
    (machine,) = account.machines("scans")
    assert (machine["InstanceType"], lane_of(machine)) == ("r7i.4xlarge", "large")
    assert machine["InstanceLifecycle"] == "spot"


def test_workers_of_a_lane_are_not_launched_beyond_what_all_lanes_may_cost(account, lanes, call):
    lanes[Lane.LARGE].send([job(1)])
    account.beat("scans", Heartbeat(
        worker="i-1", state=WorkerState.LEFT, started=0, seen=10 * 3600, interval_seconds=30,
        hourly_usd=0.5, lane=Lane.MAIN,
    ))  # fmt: skip
    code, _, err = call("launch", "--lane", "large", "--max-cost", "5")
    assert code == 7, err
    assert "about $5.00 spent already" in err
    assert account.machines("scans") == []


def test_steady_workers_are_on_demand(account, lanes, call):
    lanes[Lane.STEADY].send([job(1), job(2)])
    assert call("launch", "--lane", "steady")[0] == 0
    found = account.machines("scans")
    assert [lane_of(machine) for machine in found] == ["steady"] * 2
    assert not any("InstanceLifecycle" in machine for machine in found)


def test_an_agent_is_told_of_all_lanes_and_serves_its_own(lanes, call):
    _, out, _ = call("launch", "--lane", "large", "--print-config")
    config = AgentConfig.decode(out, "stdout")
    assert (config.lane, set(config.lane_queue_urls)) == (Lane.LARGE, set(Lane))
    assert config.queue_url == config.lane_queue_urls[Lane.LARGE]
    assert config.names == LARGE


def test_workers_of_a_lane_keep_the_cost_limit_of_the_run(lanes, call):
    limit = ("--lane", "large", "--max-cost", "3", "--print-config")
    config = AgentConfig.decode(call("launch", *limit)[1], "stdout")
    assert (config.lane, config.max_cost_usd) == (Lane.LARGE, 3)


def test_nothing_is_launched_for_a_lane_in_which_nothing_waits(account, lanes, call):
    _, _, said = call("launch", "--lane", "large")
    assert "no job waits in the large lane" in said
    assert account.machines("scans") == []


def test_jobs_in_lanes_are_no_work_for_other_workers(account, lanes, call):
    queue = lanes[Lane.MAIN]
    queue.delete([message.receipt for message in queue.receive(10, 0, 60)])
    lanes[Lane.LARGE].send([job(number) for number in range(10)])
    _, _, said = call("launch", "2")
    assert "the queue is empty" in said
    assert account.machines("scans") == []


def test_scale_counts_and_ends_the_workers_of_its_lane_only(account, lanes, call):
    lanes[Lane.LARGE].send([job(number) for number in range(5)])
    call("launch", "2")
    call("launch", "2", "--lane", "large")
    assert call("scale", "3", "--lane", "large")[0] == 0
    assert sorted(map(str, map(lane_of, account.machines("scans")))) == ["None"] * 2 + ["large"] * 3
    assert call("scale", "0", "--lane", "large")[0] == 0
    assert list(map(lane_of, account.machines("scans"))) == [None] * 2


def test_a_group_of_a_lane_follows_that_lanes_queue_from_zero(account, lanes, call):
    words = ("launch", "4", "--lane", "large", "--fleet", "persistent", "--autoscale")
    assert call(*words)[:2] == (0, f"{LARGE.group}\n")
    (group,) = account.client("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=[LARGE.group]
    )["AutoScalingGroups"]
    assert (group["DesiredCapacity"], group["MaxSize"]) == (0, 4)
    alarms = account.client("cloudwatch").describe_alarms()["MetricAlarms"]
    watched = {
        dimension["Value"]
        for alarm in alarms
        for metric in alarm.get("Metrics", ())
        for dimension in metric.get("MetricStat", {}).get("Metric", {}).get("Dimensions", ())
    }
    assert watched == {LARGE.queue, LARGE.group}


def test_with_a_group_that_follows_the_queue_each_lane_has_one_from_zero(account, lanes, call):
    words = ("launch", "3", "--fleet", "persistent", "--autoscale")
    assert "lanes    large, steady: a group for each" in call(*words, "--dry-run")[2]
    code, out, said = call(*words)
    names = [Names("scans").of_lane(lane).group for lane in Lane]
    assert (code, out.split()) == (0, names), said
    groups = account.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    sizes = {
        one["AutoScalingGroupName"]: (one["DesiredCapacity"], one["MaxSize"]) for one in groups
    }
    assert sizes == dict(zip(names, [(1, 3), (0, 1), (0, 2)], strict=True))


def test_workers_beside_a_group_that_follows_the_steady_lane_are_told_of_it(lanes, call):
    words = ("launch", "--fleet", "persistent", "--autoscale", "--print-config")
    config = AgentConfig.decode(call(*words)[1], "stdout")
    assert config.steady_start == SteadyStart(workers=2, job_seconds=STEADY_JOB_SECONDS)
    plain = AgentConfig.decode(call("launch", "--print-config")[1], "stdout")
    assert plain.steady_start is None


def test_a_lane_that_can_have_no_group_holds_up_no_other(account, lanes, call, tmp_path: Path):
    (tmp_path / "parallelize.toml").write_text(SETTINGS.replace("r7i.4xlarge", "r7i.none"))
    code, out, said = call("launch", "3", "--fleet", "persistent", "--autoscale")
    assert (code, len(out.split())) == (0, 2)
    assert "no workers for the large lane" in said


def test_steady_workers_can_be_launched_for_the_last_jobs_of_the_run(account, lanes, call):
    layout = RunLayout(Location(BUCKET), "scans")
    account.store.put(layout.cursor(0), Cursor(sent=100).model_dump_json().encode())
    queue = lanes[Lane.MAIN]
    queue.delete([message.receipt for message in queue.receive(8, 0, 60)])
    _, _, said = call("launch", "1", "--lane", "steady")
    assert "no job waits in the steady lane" in said
    queue.delete([message.receipt for message in queue.receive(1, 0, 60)])
    assert call("launch", "1", "--lane", "steady")[0] == 0
    assert [lane_of(machine) for machine in account.machines("scans")] == ["steady"]


def test_kill_ends_all_lanes_with_their_groups_and_alarms(account, lanes, call):
    call("launch", "2", "--fleet", "persistent")
    call("launch", "2", "--lane", "large", "--fleet", "persistent", "--autoscale")
    code, _, said = call("kill")
    assert (code, account.machines("scans")) == (0, [])
    assert "no group" in said
    assert account.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert account.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert account.client("ec2").describe_launch_templates()["LaunchTemplates"] == []


def test_clean_deletes_the_queues_of_all_lanes(account, lanes, call):
    lanes[Lane.LARGE].send([job(1)])
    _, _, said = call("clean", "--dry-run")
    assert "the queues of all lanes, with 11 messages" in said
    assert call("clean", "--yes")[0] == 0
    assert "QueueUrls" not in account.client("sqs").list_queues()


def test_status_says_what_waits_in_a_lane_and_what_to_start(lanes, call):
    lanes[Lane.LARGE].send([job(1)])
    _, out, _ = call("status", "--json")
    assert json.loads(out)["why"] == (
        "1 job waits in the large lane, which has no workers: "
        "parallelize launch --run scans --lane large"
    )


def test_what_waits_in_a_lane_is_not_sent_again(lanes, call):
    queue = lanes[Lane.MAIN]
    queue.delete([message.receipt for message in queue.receive(10, 0, 60)])
    lanes[Lane.STEADY].send([job(1)])
    _, _, said = call("enqueue")
    assert "every job without a result is on the queue" in said
    assert queue.counts().total == 0
