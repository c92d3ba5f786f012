"""CloudWatch: a log stream, a metric, an alarm."""

from __future__ import annotations

import time
from collections.abc import Iterator

from parallelize.fleet.tags import as_list
from parallelize.live.trial import Kind, Seen, Trial
from parallelize_core.outlast import NEW_ALARM, NEW_STREAM, outlast

CHECK = "watching"

METRIC = "Rehearsals"
STATES = {"OK", "ALARM", "INSUFFICIENT_DATA"}


def log_group(trial: Trial) -> str:
    """Return the name of the log group that is created for the probe."""
    return f"/{trial.names.queue}"


def alarm(trial: Trial) -> str:
    """Return the name of the alarm."""
    return f"{trial.names.queue}-live"


def probe(trial: Trial) -> Iterator[Seen]:
    """Write a log line, a metric, and an alarm on it."""
    yield write_log(trial)
    yield write_metric(trial)


def write_log(trial: Trial) -> Seen:
    """Write a line to a new stream in a new group."""
    group = log_group(trial)
    stream = {"logGroupName": group, "logStreamName": f"{trial.run}/doctor"}
    trial.call("logs", "create_log_group", logGroupName=group, tags=trial.tags)
    outlast(NEW_STREAM, lambda: trial.call("logs", "create_log_stream", **stream))
    line = {"timestamp": int(time.time() * 1000), "message": f"{trial.run} says hello"}
    answer = outlast(
        NEW_STREAM, lambda: trial.call("logs", "put_log_events", **stream, logEvents=[line])
    )
    taken = not answer.get("rejectedLogEventsInfo")
    return Seen(CHECK, taken, f"a log line: {'accepted' if taken else 'rejected'}")


def write_metric(trial: Trial) -> Seen:
    """Write one number, and create an alarm that watches it."""
    of_run = [{"Name": "Run", "Value": trial.run}]
    number = {"MetricName": METRIC, "Dimensions": of_run, "Value": 1.0, "Unit": "Count"}
    trial.call("cloudwatch", "put_metric_data", Namespace=trial.names.metrics, MetricData=[number])
    trial.call(
        "cloudwatch", "put_metric_alarm", AlarmName=alarm(trial), Namespace=trial.names.metrics,
        MetricName=METRIC, Dimensions=of_run, Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1e6, ComparisonOperator="GreaterThanThreshold",
        Tags=as_list(trial.tags),
    )  # fmt: skip
    states = outlast(NEW_ALARM, lambda: states_of(trial), early=lambda states: not states)
    told = ", ".join(states) or "not described"
    return Seen(CHECK, len(states) == 1 and states[0] in STATES, f"an alarm on a metric: {told}")


def states_of(trial: Trial) -> list[str]:
    """Return the state of the alarm, if it is listed."""
    found = trial.call("cloudwatch", "describe_alarms", AlarmNames=[alarm(trial)])
    return [one["StateValue"] for one in found["MetricAlarms"]]


def find_groups(trial: Trial) -> list[str]:
    """Return the log group, if it exists."""
    answer = trial.call("logs", "describe_log_groups", logGroupNamePrefix=log_group(trial))
    return [one["logGroupName"] for one in answer["logGroups"]]


def delete_group(trial: Trial, name: str) -> None:
    """Delete a log group with its streams."""
    trial.code("logs", "delete_log_group", logGroupName=name)


def find_alarms(trial: Trial) -> list[str]:
    """Return the alarms of the run."""
    prefix = trial.names.queue
    found = trial.call("cloudwatch", "describe_alarms", AlarmNamePrefix=prefix)["MetricAlarms"]
    return [one["AlarmName"] for one in found]


def delete_alarm(trial: Trial, name: str) -> None:
    """Delete an alarm."""
    trial.code("cloudwatch", "delete_alarms", AlarmNames=[name])


KINDS = (
    Kind("log group", find_groups, delete_group),
    Kind("alarm", find_alarms, delete_alarm),
)
