"""How SQS formats its errors, and what it accepts as a message.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from parallelize.local.http import Response

CONTENT_TYPE = "application/x-amz-json-1.0"
MAX_MESSAGE_BYTES = 1024 * 1024
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""
MAX_BATCH = 10
BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")

Fields = Mapping[str, Any]

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""https://www.w3.org/TR/REC-xml/#charsets"""

_QUERY_CODES = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    **{
        code: f"AWS.SimpleQueueService.{code}"
        for code in (
            "BatchEntryIdsNotDistinct", "BatchRequestTooLong", "EmptyBatchRequest",
            "InvalidBatchEntryId", "MessageNotInflight", "PurgeQueueInProgress",
            "TooManyEntriesInBatchRequest", "UnsupportedOperation",
        )
    },
}  # fmt: skip
"""The names of errors in the older protocol; boto3 shows these."""


class SQSError(Exception):
    """An error response; `code` is SQS's name for the error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def response(self) -> Response:
        """The error in SQS's form."""
        answer = to_json({"__type": f"com.amazonaws.sqs#{self.code}", "message": self.message}, 400)
        query_code = _QUERY_CODES.get(self.code, self.code)
        answer.headers = (("x-amzn-query-error", f"{query_code};Sender"),)
        return answer

    def as_failed(self, entry_id: str) -> Fields:
        """Return the error as that of one entry in a batch."""
        code = _QUERY_CODES.get(self.code, self.code)
        return {"Id": entry_id, "Code": code, "Message": self.message, "SenderFault": True}


def invalid(name: str, value: object, reason: str) -> SQSError:
    """Return the error for an invalid parameter value."""
    message = f"Value {value} for parameter {name} is invalid. Reason: {reason}"
    return SQSError("InvalidParameterValue", message)


def to_json(fields: Fields, status: int = 200) -> Response:
    """Return a response in SQS's JSON protocol."""
    return Response(status, json.dumps(fields).encode(), content_type=CONTENT_TYPE)


def number(fields: Fields, name: str, default: int, most: int, least: int = 0) -> int:
    """Return a number from a request; raise SQSError unless it is from `least` to `most`."""
    value = fields.get(name, default)
    try:
        found = int(value)
    except (TypeError, ValueError):
        found = least - 1
    if not least <= found <= most:
        raise invalid(name, value, f"Must be between {least} and {most}, if provided.")
    return found


def check_body(fields: Fields) -> int:
    """Return a message's size in bytes; raise SQSError if SQS would not accept it."""
    body: str = fields.get("MessageBody", "")
    if not body:
        raise SQSError("MissingParameter", "The request must contain the parameter MessageBody.")
    if _FORBIDDEN.search(body):
        raise SQSError("InvalidMessageContents", "The message has characters that XML does not.")
    size = len(body.encode())
    for name, attribute in fields.get("MessageAttributes", {}).items():
        size += len(name.encode()) + len(attribute.get("DataType", "")) + len(_bytes_of(attribute))
    if size > MAX_MESSAGE_BYTES:
        raise invalid("MessageBody", "", f"Must be at most {MAX_MESSAGE_BYTES} bytes long.")
    return size


def check_batch(entries: Sequence[Fields]) -> None:
    """Raise SQSError if SQS would reject a batch as a whole."""
    if not entries:
        raise SQSError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > MAX_BATCH:
        raise SQSError("TooManyEntriesInBatchRequest", f"A batch has at most {MAX_BATCH} entries.")
    names = [entry.get("Id", "") for entry in entries]
    if not all(BATCH_ID.fullmatch(name) for name in names):
        raise SQSError("InvalidBatchEntryId", "An Id has letters, digits, hyphens, underscores.")
    if len({*names}) < len(names):
        raise SQSError("BatchEntryIdsNotDistinct", "Two entries have the same Id.")
    if sum(len(entry.get("MessageBody", "").encode()) for entry in entries) > MAX_MESSAGE_BYTES:
        raise SQSError("BatchRequestTooLong", f"A batch has at most {MAX_MESSAGE_BYTES} bytes.")


def md5(text: str) -> str:
    """Return the digest that clients compare with a body."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Mapping[str, Fields]) -> str:
    """Return the digest of message attributes.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
    """
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        attribute = attributes[name]
        for part in (name.encode(), attribute["DataType"].encode()):
            digest.update(struct.pack(">I", len(part)) + part)
        value = _bytes_of(attribute)
        kind = b"\x02" if "BinaryValue" in attribute else b"\x01"
        digest.update(kind + struct.pack(">I", len(value)) + value)
    return digest.hexdigest()


def _bytes_of(attribute: Fields) -> bytes:
    if "BinaryValue" in attribute:
        return b64decode(attribute["BinaryValue"])
    return str(attribute.get("StringValue", "")).encode()
