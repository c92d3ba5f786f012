"""What each agent says of itself in S3, for `status` and for the choice of the keeper."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ValidationError

from parallelize_core.errors import DecodeError
from parallelize_core.run import CONTRACT


class WorkerState(StrEnum):
    """What a worker does now."""

    STARTING = "starting"
    BUSY = "busy"
    IDLE = "idle"
    DRAINING = "draining"
    LEFT = "left"
    FAILED = "failed"


class Heartbeat(BaseModel):
    """A worker's own account. `seen` and `started` are seconds since 1970, by its clock.

    `interval_seconds` says when the next heartbeat is due, so readers can tell who is overdue.
    `reason` says why it drains, left or failed. `hourly_usd` is the machine's price at launch.
    """

    model_config = CONTRACT

    v: Literal[1] = 1
    worker: str
    state: WorkerState
    started: float
    seen: float
    interval_seconds: float
    slots: int = 0
    type: str = ""
    zone: str = ""
    running: tuple[str, ...] = ()
    done: int = 0
    failed: int = 0
    handed_back: int = 0
    busy_seconds: float = 0.0
    reason: str = ""
    last_failure: str = ""
    agent_version: str = ""
    hourly_usd: float | None = None

    def encode(self) -> bytes:
        """Return the heartbeat as stored."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a heartbeat; raise DecodeError if it is not one."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise DecodeError("not a heartbeat", repr(body[:200]), str(error)) from None

    def alive(self, now: float) -> bool:
        """Whether the worker can still be counted on: it has not left, and is not overdue."""
        ended = self.state in {WorkerState.LEFT, WorkerState.FAILED}
        return not ended and now - self.seen <= 3 * self.interval_seconds
