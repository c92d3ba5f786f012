"""The machines that exist: found by tag, and only by tag.

If an agent hangs, its own machine repairs it or powers off (systemd's watchdog, the deadline).
What remains are machines that hang as a whole: AWS reports them as running, and bills them
like the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from parallelize.console import say
from parallelize.fleet import quotas, tags
from parallelize.fleet.facts import Market
from parallelize_core.aws_errors import translated
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.lane import Lane
from parallelize_core.names import Names
from parallelize_core.outlast import NEW_MACHINE, REFUSED_CALLS, outlast

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client


LIVE = ("pending", "running", "stopping", "stopped")
"""States that cost something: even a stopped machine keeps its volume."""

BILLED = ("pending", "running")

KNOWN = (*LIVE, "shutting-down", "terminated")
"""All states: EC2 still describes a machine for about an hour after its end.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/terminating-instances.html
"""

ENDED = ("shutting-down", "terminated")

ON_PURPOSE = ("Client.UserInitiatedShutdown", "Client.InstanceInitiatedShutdown",
              "Client.InstanceTerminated")  # fmt: skip
"""EC2's codes for an end that somebody, or the machine itself, requested."""

TERMINATE_BATCH = 1000
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html"""


@dataclass(frozen=True)
class Machine:
    """An EC2 instance, started from `image`; `group` is its Auto Scaling group, empty if none."""

    id: str
    state: str
    type: str
    zone: str
    market: Market
    run: str
    launched: datetime
    group: str = ""
    image: str = ""
    lane: Lane = Lane.MAIN
    reason: str = ""
    """Why EC2 ended it: a code and a message, empty while it has not.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
    """

    @property
    def ended_by_ec2(self) -> bool:
        """Whether it is gone, but neither by a call nor by its own power-off."""
        return self.state in ENDED and bool(self.reason) and not self.reason.startswith(ON_PURPOSE)


@translated("EC2")
def find(ec2: EC2Client, names: Names, states: Sequence[str] = LIVE) -> list[Machine]:
    """Return the machines of a run, or of all, in the given states, oldest first."""
    wanted = [*tags.filters(names), {"Name": "instance-state-name", "Values": list(states)}]
    return sorted(map(_machine, _describe(ec2, wanted)), key=lambda machine: machine.launched)


def of_lane(machines: Iterable[Machine], names: Names) -> list[Machine]:
    """Return those of a run's machines that serve the lane of `names`."""
    return [machine for machine in machines if machine.lane is names.lane]


@translated("EC2")
def vcpus_in_use(ec2: EC2Client) -> dict[str, int]:
    """Return the vCPUs that run now, of all runs and users, by quota code."""
    used: Counter[str] = Counter()
    for item in _describe(ec2, [{"Name": "instance-state-name", "Values": list(BILLED)}]):
        if code := quotas.quota_code(_market(item), item["InstanceType"]):
            cpu = item.get("CpuOptions", {})
            used[code] += cpu.get("CoreCount", 1) * cpu.get("ThreadsPerCore", 1)
    return dict(used)


def terminate(ec2: EC2Client, ids: Sequence[str]) -> None:
    """Terminate machines; already terminated ones are not an error."""
    for start in range(0, len(ids), TERMINATE_BATCH):
        batch = ids[start : start + TERMINATE_BATCH]
        outlast(NEW_MACHINE, partial(_end, ec2, batch), say)


def _end(ec2: EC2Client, ids: Sequence[str]) -> None:
    outlast(REFUSED_CALLS, partial(_terminate, ec2, ids), say)


@translated("EC2")
def _terminate(ec2: EC2Client, ids: Sequence[str]) -> None:
    ec2.terminate_instances(InstanceIds=list(ids))


def _describe(ec2: EC2Client, filters: Sequence[Any]) -> Iterator[Any]:
    for page in ec2.get_paginator("describe_instances").paginate(Filters=list(filters)):
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]


def _machine(item: Any) -> Machine:
    given = tags.as_dict(item.get("Tags"))
    return Machine(
        id=item["InstanceId"],
        state=item["State"]["Name"],
        type=item["InstanceType"],
        zone=item["Placement"]["AvailabilityZone"],
        market=_market(item),
        run=given.get(tags.RUN, ""),
        launched=item["LaunchTime"],
        group=given.get("aws:autoscaling:groupName", ""),
        image=item.get("ImageId", ""),
        lane=next((lane for lane in Lane if lane == given.get(tags.LANE)), Lane.MAIN),
        reason=_reason(item),
    )


def _reason(item: Any) -> str:
    """Return the code and the message; most messages begin with the code."""
    given = item.get("StateReason") or {}
    code, words = given.get("Code", ""), given.get("Message", "")
    return words if words.startswith(code) else f"{code}: {words}"


def _market(item: Any) -> Market:
    return "spot" if item.get("InstanceLifecycle") == "spot" else "on-demand"


HUNG_SECONDS = 30 * 60
"""Longer than clock skew can explain: AWS rejects clocks that are off by over 15 minutes.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RequestTimeTooSkewed)
"""

_ENDED = {WorkerState.LEFT, WorkerState.FAILED}


def hung(
    machines: Iterable[Machine], heartbeats: Iterable[Heartbeat], now: float
) -> tuple[Machine, ...]:
    """Return the billed machines whose last heartbeat is over `HUNG_SECONDS` before `now`.

    A machine that announced its shutdown and is kept on purpose is not among them.
    """
    known = {beat.worker: beat for beat in heartbeats}
    return tuple(
        machine
        for machine in machines
        if machine.state in BILLED and _is_silent(machine, known.get(machine.id), now)
    )


def _is_silent(machine: Machine, beat: Heartbeat | None, now: float) -> bool:
    if beat is None:
        return now - machine.launched.timestamp() > HUNG_SECONDS
    return beat.state not in _ENDED and now - beat.last_seen > HUNG_SECONDS
