"""CloudWatch Logs: streams that are not there yet."""

from __future__ import annotations

from typing import Any

from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule


class NewStream(Rule):
    """A log stream does not take lines at once."""

    source = (
        "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"
    )
    found = "a worker whose first line came too early sent none for the rest of its life"

    seconds = 1.0

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name == "logs.PutLogEvents" and self.windows.is_open(_stream(call)):
            raise Refusal("ResourceNotFoundException", "The specified log stream does not exist.")
        return None

    def watches(self, call: Call) -> bool:
        return call.name == "logs.CreateLogStream"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        self.windows.open(_stream(call), self.world.seconds(self.seconds))
        return None


def _stream(call: Call) -> tuple[Any, Any]:
    return call.get("logGroupName"), call.get("logStreamName")
