"""What became of a simulated run."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.fleet_simulation.inputs import Scale
from tests.bench.fleet_simulation.requests import Requests

COMMANDS, AGENT, BOOT, LAUNCH = "commands", "agent and waits", "boot", "EC2 launches"
IN_FLIGHT, WRITES, READS = "SQS in flight", "S3 writes", "S3 reads"
METRICS, LOOK_READS, LOOK_MEMORY = "CloudWatch calls", "last look: S3 lists", "last look: memory"
RETENTION = "SQS retention"


@dataclass(frozen=True)
class Outcome:
    """All of a run. `makespan` is from the launch to the last result, in seconds.

    `gone` is when the last worker has left. `slot_seconds` says where the time of the slots went
    until the last result; `bound` has the limits that were met, and when. `enqueue` is how long the
    client takes to send the jobs before the launch. `left` jobs are still in the queue.
    """

    scale: Scale
    done: int
    left: int
    repeated: int
    enqueue: float
    makespan: float
    gone: float
    worker_seconds: float
    peak_in_flight: int
    partitions: int
    requests: Requests
    requests_usd: float
    machine_usd: float
    slot_seconds: dict[str, float]
    bound: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """What took the most of the slots' time."""
        return max(self.slot_seconds, key=lambda name: self.slot_seconds[name])

    @property
    def first_limit(self) -> str:
        """The limit of AWS, or of a machine, that was met first; empty if none was."""
        return min(self.bound, key=lambda name: self.bound[name], default="")

    @property
    def requests_a_job(self) -> float:
        """How many requests a job came to, the client's included."""
        return self.requests.total / self.scale.jobs

    @property
    def usd_a_job(self) -> float:
        """What a job came to, in dollars."""
        return (self.requests_usd + self.machine_usd) / self.scale.jobs
