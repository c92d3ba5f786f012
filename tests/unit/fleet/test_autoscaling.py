import pytest

from parallelize.fleet.autoscaling import backlog_policy, wake_alarm, wake_policy
from parallelize_core.names import Names

NAMES = Names("scans")
GROUP = "parallelize-scans"


def metrics(specification):
    return {one["Id"]: one for one in specification}


def test_the_backlog_is_kept_per_worker_and_never_scales_in():
    tracking = backlog_policy(NAMES, 50)["TargetTrackingConfiguration"]
    assert tracking["TargetValue"] == 50
    # Workers leave by themselves when the run is over; an average must not end a busy one.
    assert tracking["DisableScaleIn"] is True


def test_the_backlog_is_read_from_the_runs_own_queue_and_group():
    tracking = backlog_policy(NAMES, 50)["TargetTrackingConfiguration"]
    found = metrics(tracking["CustomizedMetricSpecification"]["Metrics"])
    queue = found["waiting"]["MetricStat"]["Metric"]["Dimensions"]
    group = found["workers"]["MetricStat"]["Metric"]["Dimensions"]
    assert queue == [{"Name": "QueueName", "Value": "parallelize-scans"}]
    assert group == [{"Name": "AutoScalingGroupName", "Value": GROUP}]


def test_one_metric_of_each_query_is_the_answer():
    alarm = wake_alarm(NAMES, "arn:policy")["Metrics"]
    backlog = backlog_policy(NAMES, 50)["TargetTrackingConfiguration"]
    for query in (alarm, backlog["CustomizedMetricSpecification"]["Metrics"]):
        assert [one["Id"] for one in query if one["ReturnData"]] == [query[-1]["Id"]]


def test_the_first_worker_is_added_and_no_running_one_is_replaced():
    policy = wake_policy(NAMES)
    assert policy["AdjustmentType"] == "ChangeInCapacity"
    assert [step["ScalingAdjustment"] for step in policy["StepAdjustments"]] == [1]


def test_a_group_without_data_is_not_woken():
    alarm = wake_alarm(NAMES, "arn:policy")
    assert alarm["TreatMissingData"] == "notBreaching"
    assert alarm["AlarmActions"] == ["arn:policy"]


def evaluated(query, waiting, workers):
    """Evaluate a query's last expression as CloudWatch does; None is a metric without data.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    """
    functions = {
        "IF": lambda condition, then, otherwise: then if condition else otherwise,
        "FILL": lambda value, instead: instead if value is None else value,
    }
    expression = query[-1]["Expression"].replace(" AND ", " and ")
    return eval(expression, functions, {"waiting": waiting, "workers": workers})


@pytest.mark.parametrize(
    ("waiting", "workers", "backlog"), [(500, 5, 100), (500, 1, 500), (500, 0, 500), (0, 7, 0)]
)
def test_the_backlog_is_the_waiting_files_for_each_worker(waiting, workers, backlog):
    tracking = backlog_policy(NAMES, 50)["TargetTrackingConfiguration"]
    query = tracking["CustomizedMetricSpecification"]["Metrics"]
    assert evaluated(query, waiting, workers) == backlog


@pytest.mark.parametrize(
    ("waiting", "workers", "alarms"),
    [(1, 0, True), (1, None, True), (0, 0, False), (0, None, False), (9, 1, False), (9, 3, False)],
)
def test_the_fleet_is_woken_when_files_wait_and_nobody_is_there(waiting, workers, alarms):
    alarm = wake_alarm(NAMES, "arn:policy")
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    value = evaluated(alarm["Metrics"], waiting, workers)
    assert (value >= alarm["Threshold"]) is alarms
