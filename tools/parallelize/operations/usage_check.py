"""What still uses the stack: machines, groups that may start some, and runs with messages.

check_unused(context, force=False)    raises UsageError unless the stack can be deleted
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from parallelize.console import escape
from parallelize.context import Context
from parallelize.fleet import group as groups
from parallelize.fleet import instances
from parallelize.units import plural
from parallelize_core.aws_errors import translated
from parallelize_core.boto_queue import SQSQueue
from parallelize_core.errors import UsageError
from parallelize_core.names import Names

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

NAMED = 3
WITHOUT_ROLE = "without the stack's role, workers could store nothing"


def check_unused(context: Context, *, force: bool) -> None:
    """Raise UsageError while the stack is in use; `force` ignores what only waits in queues."""
    every = context.names.of_all_runs
    machines = instances.find(context.client("ec2"), every)
    if machines:
        runs = sorted({machine.run for machine in machines})
        raise UsageError(
            f"{plural(len(machines), 'worker')} of {_names(runs)} still run",
            WITHOUT_ROLE,
            f"parallelize kill --run {runs[0]}",
        )
    asleep = sorted(group.name for group in groups.find_all(context.client("autoscaling"), every))
    if asleep:
        raise UsageError(
            f"{plural(len(asleep), 'group')} may start workers: {_names(asleep)}",
            WITHOUT_ROLE,
            f"parallelize kill --run {every.run_of(asleep[0])}",
        )
    waiting = {} if force else runs_with_messages(context.client("sqs"), every)
    if waiting:
        first = next(iter(waiting))
        raise UsageError(
            f"queues of {_names(waiting)} hold {plural(sum(waiting.values()), 'message')}",
            "those runs may not be over, or have failed files that nobody has looked at",
            f"parallelize clean --run {first}   or --force, which leaves the queues",
        )


@translated("SQS")
def runs_with_messages(sqs: SQSClient, every: Names) -> dict[str, int]:
    """Return how many messages the queues of each run hold; only runs that have any."""
    found: dict[str, int] = {}
    for page in sqs.get_paginator("list_queues").paginate(QueueNamePrefix=every.queue):
        for url in page.get("QueueUrls", ()):
            run = every.run_of(url.rpartition("/")[2]).removesuffix("-dead")
            found[run] = found.get(run, 0) + SQSQueue(sqs, url).counts().total
    return {run: count for run, count in sorted(found.items()) if count}


def _names(names: Iterable[str]) -> str:
    every = [escape(name) for name in names]
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return f"{', '.join(every[:NAMED])}{more}"
