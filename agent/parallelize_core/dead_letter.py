"""What the agent puts on the dead-letter queue: the message, and why it is there."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ValidationError

from parallelize_core.run import CONTRACT


class DeadLetter(BaseModel):
    """A message that will not be tried again; `body` is what was on the queue, to the letter."""

    model_config = CONTRACT

    v: Literal[1] = 1
    reason: str
    worker: str
    body: str

    def encode(self) -> str:
        """Return the body for the dead-letter queue."""
        return self.model_dump_json()

    @classmethod
    def decode(cls, body: str) -> DeadLetter:
        """Read one; what SQS itself has moved there is the bare message and has no reason."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return cls(reason="SQS moved it: it was received too often", worker="", body=body)
