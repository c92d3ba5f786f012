"""All queues, by name: created, found, described, tagged and deleted."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from parallelize.local.disk import Disk
from parallelize.local.message_index import State
from parallelize.local.records import REGION
from parallelize.local.sqs.answers import Fields, SQSError, invalid
from parallelize.local.sqs.queue import Queue, Redrive

ACCOUNT = "123456789012"
NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
PURGE_SECONDS = 60.0
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html"""

DEFAULTS: Mapping[str, str] = {
    "DelaySeconds": "0",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
    "SqsManagedSseEnabled": "true",
    "VisibilityTimeout": "30",
}
_OTHERS = {"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId"}
_COUNTS = {
    "ApproximateNumberOfMessages": State.VISIBLE,
    "ApproximateNumberOfMessagesNotVisible": State.IN_FLIGHT,
    "ApproximateNumberOfMessagesDelayed": State.DELAYED,
}


class Queues:
    """All queues, with their attributes and tags."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._queues: dict[str, Queue] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._created: dict[str, float] = {}
        self._purged: dict[str, float] = {}
        for name, attributes, tags, created in disk.execute("select * from queues").fetchall():
            self._add(name, json.loads(attributes), json.loads(tags), created)
        for name in self._queues:
            self._apply(name)

    def find(self, name: str) -> Queue:
        """Return a queue; raise SQSError if it does not exist."""
        found = self._queues.get(name)
        if found is None:
            raise SQSError("QueueDoesNotExist", "The specified queue does not exist.")
        return found

    def create(self, fields: Fields, base: str) -> Fields:
        """Create a queue, or return an existing one with the same attributes."""
        name = fields.get("QueueName", "")
        attributes = _checked(fields.get("Attributes") or {})
        if name.endswith(".fifo") or "FifoQueue" in attributes:
            raise SQSError("InvalidParameterValue", "The local cloud has standard queues only.")
        if not NAME.fullmatch(name):
            raise invalid("QueueName", name, "1 to 80 letters, digits, hyphens and underscores.")
        there = self.attributes.get(name)
        if there is None:
            self._check_redrive(attributes)
            self._add(name, attributes, dict(fields.get("tags") or {}), time.time())
            self._apply(name)
            self._write(name)
        elif any({**DEFAULTS, **there}.get(key) != value for key, value in attributes.items()):
            raise SQSError("QueueNameExists", "A queue of this name has other attributes.")
        return {"QueueUrl": base + name}

    def get_url(self, fields: Fields, base: str) -> Fields:
        """Return a queue's URL."""
        return {"QueueUrl": base + self.find(fields.get("QueueName", "")).name}

    def list(self, fields: Fields, base: str) -> Fields:
        """List the queues whose names have a prefix."""
        prefix = fields.get("QueueNamePrefix", "")
        names = sorted(name for name in self._queues if name.startswith(prefix))
        limit = int(fields.get("MaxResults") or 1000)
        after = fields.get("NextToken") or ""
        left = [name for name in names if name > after]
        urls = [base + name for name in left[:limit]]
        more = {"NextToken": left[limit - 1]} if len(left) > limit else {}
        return {**({"QueueUrls": urls} if urls else {}), **more}

    def delete(self, name: str, _: Fields) -> Fields:
        """Delete a queue with its messages."""
        with self._disk.transaction():
            self._queues.pop(name).purge()
            self._disk.execute("delete from queues where name = ?", (name,))
        for kept in (self.attributes, self._tags, self._created):
            kept.pop(name)
        self._purged.pop(name, None)
        for other in self._queues:
            self._apply(other)
        return {}

    def get_attributes(self, name: str, fields: Fields) -> Fields:
        """Return the requested attributes."""
        asked = fields.get("AttributeNames") or []
        every = self._described(name)
        known = every.keys() | _OTHERS | {"All"}
        if unknown := [one for one in asked if one not in known]:
            raise SQSError("InvalidAttributeName", f"Unknown Attribute {unknown[0]}.")
        shown = {key: text for key, text in every.items() if key in asked or "All" in asked}
        return {"Attributes": shown} if shown else {}

    def set_attributes(self, name: str, fields: Fields) -> Fields:
        """Change the given attributes only."""
        changed = _checked(fields.get("Attributes") or {})
        self._check_redrive(changed)
        self.attributes[name] |= changed
        self._apply(name)
        self._write(name)
        return {}

    def purge(self, name: str, _: Fields) -> Fields:
        """Delete every message; refused within a minute of the last purge."""
        now = time.monotonic()
        if now - self._purged.get(name, float("-inf")) < PURGE_SECONDS:
            raise SQSError("PurgeQueueInProgress", "Only one purge every 60 seconds is allowed.")
        self._purged[name] = now
        self._queues[name].purge()
        return {}

    def tag(self, name: str, fields: Fields) -> Fields:
        """Set tags; others stay."""
        self._tags[name] |= fields.get("Tags") or {}
        self._write(name)
        return {}

    def untag(self, name: str, fields: Fields) -> Fields:
        """Remove tags."""
        for key in fields.get("TagKeys") or []:
            self._tags[name].pop(key, None)
        self._write(name)
        return {}

    def list_tags(self, name: str, _: Fields) -> Fields:
        """Return the tags."""
        return {"Tags": self._tags[name]} if self._tags[name] else {}

    def _add(
        self, name: str, attributes: dict[str, str], tags: dict[str, str], created: float
    ) -> None:
        self.attributes[name], self._tags[name] = attributes, tags
        self._created[name] = created
        self._queues[name] = Queue(name, self._disk)

    def _apply(self, name: str) -> None:
        """Apply a queue's attributes to the queue."""
        queue, attributes = self._queues[name], {**DEFAULTS, **self.attributes[name]}
        queue.retention_seconds = float(attributes["MessageRetentionPeriod"])
        policy = _policy(attributes)
        target = self._queues.get(policy.get("deadLetterTargetArn", "").rpartition(":")[2])
        queue.redrive = Redrive(int(policy["maxReceiveCount"]), target) if target else None

    def _check_redrive(self, attributes: Mapping[str, str]) -> None:
        policy = _policy(attributes)
        arn = policy.get("deadLetterTargetArn", "")
        if policy and arn.rpartition(":")[2] not in self._queues:
            raise invalid("RedrivePolicy", arn, "Dead letter target does not exist.")
        if policy and not str(policy.get("maxReceiveCount")).isdecimal():
            raise invalid("RedrivePolicy", policy, "maxReceiveCount is not a number.")

    def _write(self, name: str) -> None:
        row = json.dumps(self.attributes[name]), json.dumps(self._tags[name])
        self._disk.execute(
            "insert or replace into queues values (?, ?, ?, ?)", (name, *row, self._created[name])
        )

    def _described(self, name: str) -> dict[str, str]:
        queue, created = self._queues[name], str(int(self._created[name]))
        return {
            **DEFAULTS,
            **self.attributes[name],
            **{key: str(queue.count(state)) for key, state in _COUNTS.items()},
            "CreatedTimestamp": created,
            "LastModifiedTimestamp": created,
            "QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}",
        }


def _checked(attributes: Mapping[str, Any]) -> dict[str, str]:
    known = DEFAULTS.keys() | _OTHERS | {"FifoQueue"}
    for name, value in attributes.items():
        if name not in known:
            raise SQSError("InvalidAttributeName", f"Unknown Attribute {name}.")
        if DEFAULTS.get(name, "").isdecimal() and not str(value).isdecimal():
            raise SQSError("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
    return {name: str(value) for name, value in attributes.items()}


def _policy(attributes: Mapping[str, str]) -> dict[str, Any]:
    policy: dict[str, Any] = json.loads(attributes.get("RedrivePolicy") or "{}")
    return policy
