"""How people are notified of the end of a run, what they are told, and the record of it.

`notify.json` says how; only `prep` writes it. A webhook's URL is a secret: it is there and nowhere
else, and no message, log or error repeats it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from parallelize_core.record import Contract, Record

SCHEMA = 1


class Notify(Record):
    """How people are notified: by a webhook, a topic of SNS (its ARN), or a command."""

    url: str = ""
    topic: str = ""
    command: tuple[str, ...] = ()


class Event(StrEnum):
    """What people are notified of."""

    FINISHED = "finished"
    """Every job that was sent has its result."""
    PAUSED = "paused"
    """The run was stopped, by a person or because too many files failed."""
    OUT_OF_BUDGET = "out-of-budget"
    """The run was paused because it reached its cost limit."""


class Notification(Contract):
    """What people are told; `id` is the same whenever the same end is reported.

    `left` are jobs without a result, `unsent` those of them that were never sent.
    `cost_usd` is None where machines cost nothing. `text` says all of it in a line or two.
    """

    id: str
    event: Event
    run: str
    at: str
    total: int
    done: int
    failed: int
    unsent: int = 0
    cost_usd: float | None = None
    reason: str = ""
    next: str = ""

    @property
    def left(self) -> int:
        """The jobs without a result."""
        return self.total - self.done - self.failed

    @property
    def headline(self) -> str:
        """What has happened to which run; the subject of an e-mail."""
        if self.event is Event.OUT_OF_BUDGET:
            return f"{self.run} is paused: out of budget"
        return f"{self.run} is {self.event}"

    @property
    def text(self) -> str:
        """The whole in a line for people; chats show it."""
        counts = [f"{self.done:,} of {self.total:,} files done", f"{self.failed:,} failed"]
        counts += [f"{self.left:,} left"] if self.left else []
        cost = [] if self.cost_usd is None else [f"about ${self.cost_usd:.2f}"]
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.headline}{reason}: {', '.join(counts + cost)}. Next: {self.next}"

    def body(self) -> dict[str, Any]:
        """Return what webhooks and commands are given."""
        fields = self.model_dump(mode="json")
        return {"schema": SCHEMA, "text": self.text, **fields, "left": self.left}


class Delivery(Record):
    """Which worker notifies people of one end of a run, and the outcome.

    While both `sent` and `failed` are empty, `worker` is busy with it, or has died.
    """

    worker: str
    sent: bool = False
    failed: str = ""

    @property
    def is_over(self) -> bool:
        """Whether no further try is needed."""
        return self.sent or bool(self.failed)
