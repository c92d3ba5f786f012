"""What the simulation is fed with: AWS's published limits and prices, measured costs, the design.

Every figure can be replaced, so that a question is a changed input. Times are in seconds, sizes in
bytes, prices in dollars.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DAY = 86_400.0
HOUR = 3_600.0


@dataclass(frozen=True)
class Scale:
    """How much there is to do, by how many workers; a worker runs `slots` jobs at once."""

    jobs: int
    workers: int
    job_seconds: float
    slots: int = 4


@dataclass(frozen=True)
class Limits:
    """What AWS publishes.

    - in flight, of one standard queue; more is given out by no long poll, and nothing is said:
      https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
      Calls are "nearly unlimited":
      https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/DistributedQueues.html
    - retention: a message is kept for 14 days at most:
      https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
    - reads and writes of one partition of S3's keys:
      https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
      A partition under load is split within 30 to 60 minutes (an answer of an engineer of AWS at
      https://repost.aws/knowledge-center/s3-object-key-naming-pattern); here it takes 45.
    - machines: RunInstances has 1,000 tokens, and gets back two a second. What a CreateFleet takes
      is not published; here it takes the same:
      https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
    - PutMetricData, of an account and region:
      https://repost.aws/knowledge-center/cloudwatch-api-call-usage
    - interruptions: the advisor's bands begin below 5 % and end above 20 % in a month; here it is
      20 %: https://aws.amazon.com/ec2/spot/instance-advisor/
    """

    in_flight: int = 120_000
    retention: float = 14 * DAY
    partition_writes: float = 3_500
    partition_reads: float = 5_500
    split_seconds: float = 45 * 60
    launch_burst: int = 1_000
    launches_per_second: float = 2
    metric_calls: float = 500
    interruptions_per_hour: float = 0.20 / (30 * 24)


@dataclass(frozen=True)
class Prices:
    """Of us-east-1, in dollars.

    https://aws.amazon.com/s3/pricing/, https://aws.amazon.com/sqs/pricing/,
    https://aws.amazon.com/cloudwatch/pricing/. The machine is that of docs/cost.md (four vCPUs,
    spot), with its address and its disk.
    """

    put: float = 0.005 / 1000
    get: float = 0.0004 / 1000
    sqs: float = 0.40 / 1e6
    metric_call: float = 0.01 / 1000
    machine_hour: float = 0.07 + 0.0105


@dataclass(frozen=True)
class Costs:
    """What was measured, or is the agent's own setting; docs/performance.md has the first three.

    A request takes as long as docs/performance.md lets it take. What a manifest entry and a listed
    key cost the last look (see Design) was measured with 10,000 entries and 200,000 keys.
    """

    agent_cpu: float = 0.001_07
    isolation: float = 0.008_13
    enqueue_cpu: float = 0.000_02
    request: float = 0.03
    sqs_request: float = 0.01
    listing: float = 0.1
    boot: float = 60.0
    entry_cpu: float = 0.000_003_5
    key_bytes: int = 133
    memory: int = 8 * 2**30
    notice: float = 120 - 25

    @property
    def overhead(self) -> float:
        """What a job takes of a core beside its command: one core has one slot."""
        return self.agent_cpu + self.isolation


@dataclass(frozen=True)
class Design:
    """What of the design is in question.

    At the end of a run the queue is empty, and somebody has to compare manifest and results:
    `all_look` says whether each worker does, or the leader alone. `spread` is the number of places
    of the manifest from which jobs are under way at once: S3 splits its partitions by key, and
    jobs that lie next to each other are in one. `queues` share a run's messages.
    """

    all_look: bool = False
    spread: int = 4
    queues: int = 1


FORMER = Design(all_look=True, spread=1)
"""Before the simulation."""


@dataclass(frozen=True)
class Inputs:
    """All of it. `replaced` says whether another machine comes for one that is interrupted."""

    limits: Limits = field(default_factory=Limits)
    prices: Prices = field(default_factory=Prices)
    costs: Costs = field(default_factory=Costs)
    design: Design = field(default_factory=Design)
    replaced: bool = True
