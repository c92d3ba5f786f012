"""The alarms of a run's own queues: a file has failed for good, or has waited too long.

`setup` makes the alarms that hold for all runs. These two cannot be among them: they read SQS's
own metrics of a queue, and an alarm has to name its queue. So `launch` makes them, and
`kill` and `clean` delete them. They work even when no worker is running.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parallelize.queues import RETENTION_SECONDS
from parallelize_core.errors import ParallelizeError, code_of
from parallelize_core.lane import Lane
from parallelize_core.names import Names
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_cloudwatch.type_defs import TagTypeDef

TOO_OLD_SECONDS = RETENTION_SECONDS - 2 * 24 * 60 * 60
"""Two days before SQS drops the message. A worker sends the file again by then, if there is one."""

PERIOD_SECONDS = 300

NO_SUCH_ALARM = "ResourceNotFound"

RUNBOOK = "docs/runbook.md"


def topic_arn(partition: str, region: str, account: str, names: Names) -> str:
    """Return the ARN of the topic that `setup` made.

    CloudWatch accepts an alarm whose topic does not exist, and then notifies nobody.
    """
    return f"arn:{partition}:sns:{region}:{account}:{names.topic}"


def alarm_names(names: Names) -> list[str]:
    """Return the names of a run's alarms."""
    return [f"{names.queue}-old-message", f"{names.dead_letter_queue}-letters"]


def old_message_alarm(names: Names, topic: str) -> dict[str, Any]:
    """Return the PutMetricAlarm request for the age of the oldest message of a run's queue."""
    run, lane = names.run, "" if names.lane is Lane.MAIN else f" --lane {names.lane}"
    days = TOO_OLD_SECONDS // 86400
    return {
        "AlarmName": alarm_names(names)[0],
        "AlarmDescription": (
            f"A file of run {run} has waited for {days} days. `parallelize status --run {run}` "
            f"says why. `parallelize scale N --run {run}{lane}` gives it more workers; "
            f"`parallelize kill --run {run}` ends it if nobody wants the rest. "
            f"{RUNBOOK}#old-message"
        ),
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Threshold": float(TOO_OLD_SECONDS),
        **_of_queue(names.queue, topic),
    }


def dead_letters_alarm(names: Names, topic: str) -> dict[str, Any]:
    """Return the PutMetricAlarm request for messages in a run's dead-letter queue."""
    run = names.run
    return {
        "AlarmName": alarm_names(names)[1],
        "AlarmDescription": (
            f"Files of run {run} have failed for good. `parallelize failures --run {run}` says "
            f"why; fix the command or the input, then `parallelize retry --run {run}`. "
            f"{RUNBOOK}#dead-letters"
        ),
        "MetricName": "ApproximateNumberOfMessagesVisible",
        "Threshold": 0.0,
        **_of_queue(names.dead_letter_queue, topic),
    }


def _of_queue(name: str, topic: str) -> dict[str, Any]:
    return {
        "AlarmActions": [topic],
        "Namespace": "AWS/SQS",
        "Dimensions": [{"Name": "QueueName", "Value": name}],
        "Statistic": "Maximum",
        "Period": PERIOD_SECONDS,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        # SQS may publish nothing about a queue that was not used for six hours. Its last figures
        # still hold: without calls to the queue, only the age of its messages changes.
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/monitoring-using-cloudwatch.html
        "TreatMissingData": "ignore",
    }


@translated("CloudWatch")
def watch_queue(
    cloudwatch: CloudWatchClient, names: Names, topic: str, given: Sequence[TagTypeDef]
) -> None:
    """Create or update the run's alarms, with tags; existing alarms keep their tags."""
    cloudwatch.put_metric_alarm(**old_message_alarm(names, topic), Tags=given)
    cloudwatch.put_metric_alarm(**dead_letters_alarm(names, topic), Tags=given)


def forget_queue(cloudwatch: CloudWatchClient, *names: Names) -> None:
    """Delete the run's alarms, if there are any."""
    found = [alarm for each in names for alarm in alarm_names(each)]
    delete(cloudwatch, list(dict.fromkeys(found)))


def delete(cloudwatch: CloudWatchClient, names: Sequence[str]) -> None:
    """Delete alarms; a missing one does not keep the others.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DeleteAlarms.html
    """
    try:
        with translated("CloudWatch"):
            cloudwatch.delete_alarms(AlarmNames=names)
    except ParallelizeError as error:
        if code_of(error) != NO_SUCH_ALARM:
            raise
