"""A persistent fleet that follows the queue: an alarm starts it, target tracking enlarges it.

Both read metrics that AWS itself publishes, so nothing of ours has to run while the fleet is at
zero, and `enqueue` alone is enough. Nothing here scales in: workers know better than an average
when they are no longer needed, and leave one by one.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-target-tracking-metric-math.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parallelize.fleet import alarms
from parallelize_core.aws_errors import translated
from parallelize_core.names import Names

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_cloudwatch.type_defs import TagTypeDef

WAKE = "wake"

WARM_UP_SECONDS = 180
"""From launch to first receive; until then no further machines start for the same backlog."""

PERIOD_SECONDS = 60
"""SQS and Auto Scaling both publish once a minute.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""


def backlog_policy(names: Names, backlog_per_worker: int) -> dict[str, Any]:
    """Return the PutScalingPolicy request that keeps the waiting files per worker at a target."""
    metrics = [_waiting(names), _in_service(names)]
    ratio = {
        "Id": "backlog", "Label": "waiting files per worker", "ReturnData": True,
        "Expression": "waiting / IF(workers > 0, workers, 1)",
    }  # fmt: skip
    return {
        "AutoScalingGroupName": names.group,
        "PolicyName": "backlog-per-worker",
        "PolicyType": "TargetTrackingScaling",
        "EstimatedInstanceWarmup": WARM_UP_SECONDS,
        "TargetTrackingConfiguration": {
            "TargetValue": float(backlog_per_worker),
            "DisableScaleIn": True,
            "CustomizedMetricSpecification": {"Metrics": [*metrics, ratio]},
        },
    }


def wake_policy(names: Names) -> dict[str, Any]:
    """Return the PutScalingPolicy request that starts the first worker."""
    return {
        "AutoScalingGroupName": names.group,
        "PolicyName": WAKE,
        "PolicyType": "StepScaling",
        "AdjustmentType": "ChangeInCapacity",
        "EstimatedInstanceWarmup": WARM_UP_SECONDS,
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
    }


def wake_alarm(names: Names, policy_arn: str) -> dict[str, Any]:
    """Return the PutMetricAlarm request that fires when files wait and no worker runs.

    Target tracking alone cannot start a fleet: it multiplies, and any multiple of zero is zero.
    """
    asleep = {
        "Id": "asleep", "Label": "files are waiting, and there are no workers", "ReturnData": True,
        "Expression": "IF(waiting > 0 AND FILL(workers, 0) < 1, 1, 0)",
    }  # fmt: skip
    sources = [_waiting(names), _in_service(names)]
    return {
        "AlarmName": wake_alarm_name(names),
        "AlarmDescription": f"Files of run {names.run} are waiting, and there are no workers.",
        "AlarmActions": [policy_arn],
        "Metrics": [*(_as_alarm_metric(source) for source in sources), asleep],
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "Threshold": 1.0,
        "EvaluationPeriods": 1,
        "TreatMissingData": "notBreaching",
    }


def wake_alarm_name(names: Names) -> str:
    """Return the name of a group's alarm."""
    return f"{names.group}-wake"


@translated("Auto Scaling")
def follow_queue(
    autoscaling: AutoScalingClient,
    cloudwatch: CloudWatchClient,
    names: Names,
    target: int,
    given: Sequence[TagTypeDef],
) -> None:
    """Create or update both policies and the alarm, with tags."""
    autoscaling.put_scaling_policy(**backlog_policy(names, target))
    wake = autoscaling.put_scaling_policy(**wake_policy(names))
    # A new policy may not be described yet. Only the local cloud returns no ARN.
    arn = wake.get("PolicyARN") or _described(autoscaling, names)
    cloudwatch.put_metric_alarm(**wake_alarm(names, arn), Tags=given)


def _described(autoscaling: AutoScalingClient, names: Names) -> str:
    found = autoscaling.describe_policies(AutoScalingGroupName=names.group, PolicyNames=[WAKE])
    return found["ScalingPolicies"][0]["PolicyARN"]


@translated("Auto Scaling")
def unfollow_queue(
    autoscaling: AutoScalingClient, cloudwatch: CloudWatchClient, names: Names
) -> None:
    """Delete what an earlier launch may have made, so that the group keeps its size."""
    forget_queue(cloudwatch, names)
    pages = autoscaling.get_paginator("describe_policies").paginate(
        AutoScalingGroupName=names.group
    )
    # Read everything first: deleting while paging may hide later entries.
    for policy in [policy for page in pages for policy in page["ScalingPolicies"]]:
        autoscaling.delete_policy(AutoScalingGroupName=names.group, PolicyName=policy["PolicyName"])


def forget_queue(cloudwatch: CloudWatchClient, *names: Names) -> None:
    """Delete the alarms; the policies go with the groups."""
    alarms.delete(cloudwatch, [wake_alarm_name(each) for each in names])


def _waiting(names: Names) -> dict[str, Any]:
    dimension = {"Name": "QueueName", "Value": names.queue}
    return _metric("waiting", "AWS/SQS", "ApproximateNumberOfMessagesVisible", dimension)


def _in_service(names: Names) -> dict[str, Any]:
    dimension = {"Name": "AutoScalingGroupName", "Value": names.group}
    return _metric("workers", "AWS/AutoScaling", "GroupInServiceInstances", dimension)


def _metric(id_: str, namespace: str, name: str, dimension: dict[str, str]) -> dict[str, Any]:
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": [dimension]}
    return {"Id": id_, "ReturnData": False, "MetricStat": {"Metric": metric, "Stat": "Average"}}


def _as_alarm_metric(source: dict[str, Any]) -> dict[str, Any]:
    return {**source, "MetricStat": {**source["MetricStat"], "Period": PERIOD_SECONDS}}
