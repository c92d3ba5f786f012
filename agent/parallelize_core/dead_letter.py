"""What the agent puts on the dead-letter queue: the message, and the reason."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from parallelize_core.job import MAX_MESSAGE_BYTES
from parallelize_core.record import Contract


class DeadLetter(Contract):
    """A message that will not be tried again; `body` is exactly what was on the queue.

    If the body is too large for a letter on the queue, it is only its start.
    """

    v: Literal[1] = 1
    reason: str
    worker: str
    body: str

    def encode(self) -> str:
        """Return the body for the dead-letter queue."""
        letter = self.model_dump_json()
        if len(letter.encode()) <= MAX_MESSAGE_BYTES:
            return letter
        # JSON at most doubles the characters that SQS accepts; the rest is room for the reason.
        start = self.body.encode()[: MAX_MESSAGE_BYTES // 4].decode(errors="ignore")
        return self.model_copy(update={"body": start}).model_dump_json()

    @classmethod
    def decode(cls, body: str) -> DeadLetter:
        """Read one; what SQS itself has moved there is the bare message and has no reason."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return cls(reason="SQS moved it: it was received too often", worker="", body=body)
