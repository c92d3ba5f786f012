"""The records that the local cloud and its clients exchange."""

from __future__ import annotations

import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

import psutil
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

STATE_FILE = "cloud.json"
LOG_FILE = "server.log"

# Requests to paths below this are about the local cloud itself; no S3 bucket can have the name.
CONTROL_PREFIX = "/_parallelize"

OWNERS_KEY = "local"
"""The id of the key with which the owner signs; the state file has its secret."""

# The only region: instances are not looked for elsewhere.
REGION = "us-east-1"

# psutil computes a process's start from the boot time, which clock changes can move.
START_TIME_TOLERANCE_SECONDS = 2.0


class InstanceState(StrEnum):
    """The state of a local instance."""

    RUNNING = "running"
    STOPPING = "stopping"
    """It was told to switch off, and is in its grace period."""
    TERMINATED = "terminated"


class InstanceView(BaseModel):
    """An instance as `local status` shows it; `pid` is its agent's, `console` its output."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: str
    state: InstanceState
    type: str
    pid: int | None
    console: Path


InstanceViews = TypeAdapter(list[InstanceView], config=ConfigDict(defer_build=True))


class CloudState(BaseModel):
    """Where a running local cloud is; `started` is when its process started, seconds since 1970."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, defer_build=True)

    schema_number: Literal[1] = Field(default=1, alias="schema")
    pid: int
    started: float
    endpoint: str
    port: int
    token: str
    """The token that controls the local cloud."""
    secret: str
    """The secret key with which requests to its services must be signed."""

    def write(self, folder: Path) -> None:
        """Write the state to `folder` atomically, readable by this user only."""
        new = folder / f"{STATE_FILE}.new"
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(self.model_dump_json(by_alias=True), encoding="utf-8")
        new.replace(folder / STATE_FILE)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the state in `folder` if its process is running, else None."""
        try:
            state = cls.model_validate_json((folder / STATE_FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return state if state.is_current() else None

    def is_current(self) -> bool:
        """Whether the process exists, and its id has not been reused."""
        started = start_time(self.pid)
        return started is not None and abs(started - self.started) < START_TIME_TOLERANCE_SECONDS


def start_time(pid: int) -> float | None:
    """When a process started, in seconds since 1970; None if it is gone."""
    try:
        process = psutil.Process(pid)
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return None if is_zombie else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def state_of_this_process(port: int) -> CloudState:
    """Return the state for the local cloud in this process to write, with new secrets."""
    pid = os.getpid()
    started = psutil.Process(pid).create_time()
    endpoint = f"http://127.0.0.1:{port}"
    return CloudState(
        pid=pid, started=started, endpoint=endpoint, port=port,
        token=secrets.token_urlsafe(), secret=secrets.token_urlsafe(),
    )  # fmt: skip
