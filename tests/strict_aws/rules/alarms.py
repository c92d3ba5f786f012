"""CloudWatch: alarms that are not there."""

from __future__ import annotations

from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule


class NoAlarm(Rule):
    """Of alarms to delete those that are there are deleted, and the others may be an error."""

    source = (
        "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DeleteAlarms.html"
    )
    found = "kill of a run without alarms counted on an answer that AWS does not promise"

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name != "cloudwatch.DeleteAlarms":
            return None
        backend = cloudwatch_backends[self.world.account][call.region]
        names = list(call.params["AlarmNames"])
        there = [name for name in names if name in backend.alarms]
        if len(there) == len(names):
            return None
        backend.delete_alarms(there)
        raise Refusal("ResourceNotFound", "The named resource does not exist.", 404)
