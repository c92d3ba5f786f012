"""How likely a launch is to get its spot machines: EC2's placement score.

EC2 takes the types, the region and a number of machines, and returns a score from 1 to 10 for a
fleet that may use all zones, as ours may. It may limit how many new configurations an account asks
about in 24 hours, but always accepts a repeated one. So the number is rounded up to a power of two,
all types of the settings are named whatever they cost, and each launch asks once.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-placement-score.html
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parallelize_core.aws_errors import translated
from parallelize_core.errors import ParallelizeError, code_of

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

FEWEST_TYPES = 3
"""With fewer types, EC2 scores every launch low."""

BEST = 10
LOW = 3
"""With this score or less, a launch is likely to get few of its machines."""


@dataclass(frozen=True)
class Placement:
    """EC2's score for about `count` machines, or None and the reason `why` it is not known."""

    count: int
    score: int | None = None
    why: str = ""

    @property
    def is_low(self) -> bool:
        """Whether most machines are likely to be missing."""
        return self.score is not None and self.score <= LOW


def ask(ec2: EC2Client, region: str, types: Iterable[str], count: int) -> Placement | None:
    """Return the score for `count` machines; None if asking is useless."""
    names = sorted(set(types))
    if count < 1 or len(names) < FEWEST_TYPES:
        return None
    rounded = 1 << (count - 1).bit_length()
    # An unknown score must not prevent a launch.
    try:
        score = _score(ec2, region, names, rounded)
    except ParallelizeError as error:
        return Placement(rounded, why=code_of(error) or error.what)
    return Placement(rounded, score, "" if score else "EC2 gives none")


@translated("EC2")
def _score(ec2: EC2Client, region: str, types: list[str], count: int) -> int | None:
    answer = ec2.get_spot_placement_scores(
        InstanceTypes=types, TargetCapacity=count, TargetCapacityUnitType="units",
        SingleAvailabilityZone=False, RegionNames=[region],
    )  # fmt: skip
    return next((one["Score"] for one in answer["SpotPlacementScores"]), None)
