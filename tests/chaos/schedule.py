"""From a seed to the faults of a chaos run: what happens, when, and to whom.

The same seed gives the same list, so a schedule that broke something can be run again. Whom a
fault hits is written as a number: the bench takes it modulo the agents that live at that moment.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What goes wrong, in a sentence each."""

    UNPLUG = "unplug"  # every process of a machine is killed at once
    KILL_AGENT = "kill-agent"  # the agent alone is killed, its jobs are running
    PAUSE = "pause"  # all of a machine stands still for longer than a lease
    NOTICE = "notice"  # a spot notice, and the plug is pulled at its end
    POWER_OFF = "power-off"  # SIGTERM, as systemd sends it
    JOIN = "join"  # one more worker than there should be
    SICK = "sick"  # one more, on which every command fails at once
    SKEWED = "skewed"  # one more, whose clock is ten minutes off

    DUPLICATE = "duplicate"  # the message of any job is sent once more
    LATE_DUPLICATE = "late-duplicate"  # the same, not to be seen for a while
    HIDE = "hide"  # messages are received by somebody who never answers
    VANISH = "vanish"  # messages are gone, as after the retention
    PURGE = "purge"  # all messages are gone, those of running jobs too

    SLOW = "slow"  # requests take longer
    LOSE_REQUEST = "lose-request"  # connections are reset before the service sees the request
    LOSE_ANSWER = "lose-answer"  # the service acts, and its answer is lost
    CUT = "cut"  # answers break off in the middle
    THROTTLE = "throttle"  # 503 SlowDown from S3, RequestThrottled from SQS
    ERROR = "error"  # 500 from either
    NO_SQS = "no-sqs"  # the agent is cut off from SQS only
    NO_S3 = "no-s3"  # the agent is cut off from S3 only
    BUSY_SQS = "busy-sqs"  # SQS throttles every request, S3 is well
    BUSY_S3 = "busy-s3"  # S3 answers every request with 503, SQS is well
    CORRUPT = "corrupt"  # a TLS record is not what was sent
    TRICKLE = "trickle"  # answers come a byte at a time
    GARBLE = "garble"  # answers are not HTTP, or have a body that is none

    OUTAGE = "outage"  # once, for all agents: S3 answers every request with 503
    FORBIDDEN = "forbidden"  # S3 refuses one input, always; by the project, not by the schedule
    ARCHIVED = "archived"  # S3 says of one input that it is archived; likewise


DEATHS = (Kind.UNPLUG, Kind.KILL_AGENT)
NETWORK = (
    Kind.SLOW, Kind.LOSE_REQUEST, Kind.LOSE_ANSWER, Kind.CUT, Kind.THROTTLE, Kind.ERROR,
    Kind.NO_SQS, Kind.NO_S3, Kind.BUSY_SQS, Kind.BUSY_S3, Kind.CORRUPT, Kind.TRICKLE, Kind.GARBLE,
)  # fmt: skip
OF_OBJECTS = (Kind.FORBIDDEN, Kind.ARCHIVED)

SCHEDULED = tuple(
    kind
    for kind in Kind
    # A clock is set by a library that has to be compiled first.
    if kind not in OF_OBJECTS and (kind is not Kind.SKEWED or shutil.which("cc"))
)

_WEIGHTS = dict.fromkeys(Kind, 4) | {
    Kind.DUPLICATE: 8, Kind.UNPLUG: 8, Kind.PURGE: 1, Kind.JOIN: 2, Kind.SICK: 2, Kind.SKEWED: 2,
    Kind.OUTAGE: 0,
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One fault, `at` seconds after the start of the run.

    `target` is whom it hits, see above; `seconds` is how long it lasts and `share` the part of
    the requests that it hits, where that makes sense.
    """

    at: float
    kind: Kind
    target: int
    seconds: float
    share: float


def make_schedule(
    seed: int,
    faults: int,
    span_seconds: float,
    lease_seconds: float,
    outage_seconds: float = 3,
) -> list[Fault]:
    """Return `faults` faults, spread over `span_seconds`, in the order of their times.

    Each kind occurs at least once if there are enough of them.
    """
    chance = random.Random(seed)
    kinds = list(SCHEDULED)
    chance.shuffle(kinds)
    weights = [_WEIGHTS[kind] for kind in kinds]
    chosen = kinds[:faults] + chance.choices(kinds, weights, k=max(0, faults - len(kinds)))
    chance.shuffle(chosen)
    times = sorted(chance.uniform(0, span_seconds) for _ in chosen)
    return [
        Fault(
            at=round(at, 3),
            kind=kind,
            target=chance.randrange(1_000_000),
            seconds=round(_duration(chance, kind, lease_seconds, outage_seconds), 3),
            share=round(chance.uniform(0.2, 0.8), 3),
        )
        for at, kind in zip(times, chosen, strict=True)
    ]


def _duration(
    chance: random.Random, kind: Kind, lease_seconds: float, outage_seconds: float
) -> float:
    if kind is Kind.OUTAGE:
        return outage_seconds
    if kind is Kind.PAUSE:
        return lease_seconds * chance.uniform(1.1, 2)
    if kind in {Kind.NO_SQS, Kind.NO_S3}:
        return lease_seconds * chance.uniform(0.5, 2)
    return lease_seconds * chance.uniform(0.25, 1)
