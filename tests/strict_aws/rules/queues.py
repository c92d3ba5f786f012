"""SQS: queues that are not there yet, and names and messages that are not gone yet."""

from __future__ import annotations

from typing import Any

from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule, World

NOT_THERE = "AWS.SimpleQueueService.NonExistentQueue"


def queue_of(call: Call) -> str:
    """Return the name of the queue that a call is about."""
    name: str = call.get("QueueName") or str(call.get("QueueUrl") or "").rpartition("/")[2]
    return name


class NewQueue(Rule):
    """A queue cannot be used in its first second."""

    source = (
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html"
    )
    found = "enqueue set the attributes of a queue at once, and failed"

    seconds = 1.0

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._known: set[str] = set()

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service != "sqs" or call.operation == "CreateQueue":
            return None
        if self.windows.is_open(queue_of(call)):
            raise Refusal(NOT_THERE, "The specified queue does not exist.")
        return None

    def watches(self, call: Call) -> bool:
        return call.name in {"sqs.CreateQueue", "sqs.DeleteQueue", "sqs.GetQueueUrl"}

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        name = queue_of(call)
        if call.operation == "CreateQueue" and name not in self._known:
            # As long at every scale: who waits a second for it really waits.
            self.windows.open(name, self.seconds)
        change = self._known.discard if call.operation == "DeleteQueue" else self._known.add
        change(name)
        return None


class DeletedQueue(Rule):
    """The name of a queue stays taken for 60 seconds after its deletion."""

    source = (
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html"
    )
    found = "clean, then enqueue: SQS refused the run's own name for a minute"

    seconds = 60.0

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name == "sqs.CreateQueue" and self.windows.is_open(queue_of(call)):
            raise Refusal(
                "AWS.SimpleQueueService.QueueDeletedRecently",
                "You must wait 60 seconds after deleting a queue before you can create another "
                "with the same name.",
            )
        return None

    def watches(self, call: Call) -> bool:
        return call.name == "sqs.DeleteQueue"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        self.windows.open(queue_of(call), self.world.seconds(self.seconds))
        return None
