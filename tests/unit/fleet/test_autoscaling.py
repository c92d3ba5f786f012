from parallelize.fleet.autoscaling import backlog_policy, wake_alarm, wake_policy

GROUP = "parallelize-scans"


def metrics(specification):
    return {one["Id"]: one for one in specification}


def test_the_backlog_is_kept_per_worker_and_never_scales_in():
    tracking = backlog_policy(GROUP, "scans", 50)["TargetTrackingConfiguration"]
    assert tracking["TargetValue"] == 50
    # Workers leave by themselves when the run is over; an average must not end a busy one.
    assert tracking["DisableScaleIn"] is True


def test_the_backlog_is_read_from_the_runs_own_queue_and_group():
    tracking = backlog_policy(GROUP, "scans", 50)["TargetTrackingConfiguration"]
    found = metrics(tracking["CustomizedMetricSpecification"]["Metrics"])
    queue = found["waiting"]["MetricStat"]["Metric"]["Dimensions"]
    group = found["workers"]["MetricStat"]["Metric"]["Dimensions"]
    assert queue == [{"Name": "QueueName", "Value": "parallelize-scans"}]
    assert group == [{"Name": "AutoScalingGroupName", "Value": GROUP}]


def test_one_metric_of_each_query_is_the_answer():
    alarm = wake_alarm(GROUP, "scans", "arn:policy")["Metrics"]
    backlog = backlog_policy(GROUP, "scans", 50)["TargetTrackingConfiguration"]
    for query in (alarm, backlog["CustomizedMetricSpecification"]["Metrics"]):
        assert [one["Id"] for one in query if one["ReturnData"]] == [query[-1]["Id"]]


def test_the_first_worker_is_added_and_no_running_one_is_replaced():
    policy = wake_policy(GROUP)
    assert policy["AdjustmentType"] == "ChangeInCapacity"
    assert [step["ScalingAdjustment"] for step in policy["StepAdjustments"]] == [1]


def test_a_group_without_data_is_not_woken():
    alarm = wake_alarm(GROUP, "scans", "arn:policy")
    assert alarm["TreatMissingData"] == "notBreaching"
    assert alarm["AlarmActions"] == ["arn:policy"]
