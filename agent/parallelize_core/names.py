"""The names of a stack and its runs in an AWS account: each begins with the stack's.

Several stacks live in one account and region, each with its own bucket, queues and permissions. A
stack's name has no hyphen, so that `lab-*` in a policy never means the things of another stack.

    Names("scans").queue                  parallelize-scans
    Names("scans", "lab").queue           lab-scans
    Names("scans").of_lane("large").queue  parallelize-_large-scans
"""

from __future__ import annotations

import re
from typing import NamedTuple

from parallelize_core.lane import Lane

FIRST = "parallelize"
"""The name of the stack that nobody has given a name."""

STACK_NAME = r"[a-z][a-z0-9]{0,13}"
"""Lower case for S3; SQS's 80 characters have to fit a run's name of 60, two hyphens and "dead"."""


def checked_stack(name: str) -> str:
    """Return `name` if it can name a stack; raise ValueError if it cannot."""
    if not re.fullmatch(STACK_NAME, name):
        raise ValueError(
            f'"{name}" cannot name a stack: use 1 to 14 lower-case letters and digits, '
            "and begin with a letter"
        )
    return name


class Names(NamedTuple):
    """The names of a run of a stack; without `run`, of the stack and of all its runs."""

    run: str = ""
    stack: str = FIRST
    lane: Lane = Lane.MAIN
    """The lane of queue and group. No run's name begins with an underscore, so lanes clash with
    none.
    """

    @property
    def of_all_runs(self) -> Names:
        """The names of the stack, whatever the run."""
        return self._replace(run="", lane=Lane.MAIN)

    def of_lane(self, lane: Lane) -> Names:
        """Return the names of another lane of the run."""
        return self._replace(lane=lane)

    @property
    def queue(self) -> str:
        """The lane's queue; without a run, the start of all queues' names."""
        return f"{self.stack}-{self._of_lane}{self.run}"

    @property
    def dead_letter_queue(self) -> str:
        """The run's dead-letter queue, which its lanes share."""
        return f"{self.stack}-{self.run}-dead"

    @property
    def group(self) -> str:
        """The lane's Auto Scaling group, and its launch template."""
        return self.queue

    @property
    def of_each_lane(self) -> tuple[Names, ...]:
        """The names of all lanes that the run may have."""
        return tuple(map(self.of_lane, Lane))

    def run_of(self, name: str) -> str:
        """Return the run of the queue or the group that is called so."""
        return re.sub(r"^_[a-z]+-", "", name.removeprefix(f"{self.stack}-"))

    @property
    def _of_lane(self) -> str:
        return "" if self.lane is Lane.MAIN else f"_{self.lane}-"

    @property
    def managed(self) -> str:
        """The value of the tag `parallelize:managed`, by which policies tell stacks apart."""
        return "true" if self.stack == FIRST else self.stack

    @property
    def metrics(self) -> str:
        """The namespace of the workers' metrics."""
        return "Parallelize" if self.stack == FIRST else self.stack

    @property
    def log_group(self) -> str:
        """Where the agents' log lines go."""
        return f"/{self.stack}/agents"

    @property
    def topic(self) -> str:
        """The topic of the alarms."""
        return f"{self.stack}-alarms"

    def role(self, name: str, region: str) -> str:
        """Return the name of the instance profile or the policy `name`."""
        return f"{self.stack}-{name}-{region}"

    def security_group(self, vpc: str) -> str:
        """Return the workers' security group; one with a name cannot be moved to another VPC."""
        return f"{self.stack}-worker-{vpc}"
