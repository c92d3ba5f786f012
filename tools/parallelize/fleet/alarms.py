"""The alarm of a run's own queue: its oldest message has waited too long.

`setup` makes the alarms that hold for all runs. This one cannot be among them: SQS tells the age
of the oldest message by queue, and an alarm has to name the queue it watches. So `launch` makes
it, and `kill` and `clean` take it away. It speaks up when no worker is there to, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parallelize.queues import RETENTION_SECONDS
from parallelize_core.layout import queue_name

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient

TOPIC = "parallelize-alarms"
"""Made by `setup`. CloudWatch takes an alarm whose topic is not there, and then tells nobody."""

TOO_OLD_SECONDS = RETENTION_SECONDS - 2 * 24 * 60 * 60
"""Two days before SQS drops the message. The file is sent again by a worker then; is there one?"""

PERIOD_SECONDS = 300


def topic_arn(partition: str, region: str, account: str) -> str:
    """Return the name of the topic that `setup` made."""
    return f"arn:{partition}:sns:{region}:{account}:{TOPIC}"


def old_message_alarm_name(run: str) -> str:
    """Return the name of a run's alarm."""
    return f"{queue_name(run)}-old-message"


def old_message_alarm(run: str, topic: str) -> dict[str, Any]:
    """Return the PutMetricAlarm request for the age of a queue's oldest message.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    """
    return {
        "AlarmName": old_message_alarm_name(run),
        "AlarmDescription": f"A file of run {run} waits too long. docs/runbook.md#old-message",
        "AlarmActions": [topic],
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": queue_name(run)}],
        "Statistic": "Maximum",
        "Period": PERIOD_SECONDS,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": float(TOO_OLD_SECONDS),
        "TreatMissingData": "notBreaching",
    }


def watch_queue(cloudwatch: CloudWatchClient, run: str, topic: str) -> None:
    """Make the alarm, or bring it up to date."""
    cloudwatch.put_metric_alarm(**old_message_alarm(run, topic))


def forget_queue(cloudwatch: CloudWatchClient, run: str) -> None:
    """Delete the alarm; that there is none is no error."""
    cloudwatch.delete_alarms(AlarmNames=[old_message_alarm_name(run)])
