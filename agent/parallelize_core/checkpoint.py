"""A job's checkpoint: an archive in S3, and a marker that says that it is complete."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

from parallelize_core.job import JobMessage
from parallelize_core.record import IsoTime, Record
from parallelize_core.run import Run

MAX_MARKER_BYTES = 64 * 1024


class Checkpoint(Record):
    """The marker of a checkpoint; written last, so an archive without one is incomplete.

    `name` is that of the archive below the checkpoint's own folder, with `etag`, `size` in bytes
    and `sha256` of its content. `identity` says what it is a checkpoint of, see `identity_of`.
    """

    run: str
    key: str
    identity: str
    name: str = Field(pattern=r"^[^/]{1,255}$")
    etag: str
    size: int
    sha256: str
    worker: str
    stored_at: IsoTime


def identity_of(run: Run, message: JobMessage) -> str:
    """Return a digest of a job, its command and its input: if it differs, the job starts over."""
    environment = run.environment.identity if run.environment else ""
    image = run.image.model_dump_json() if run.image else ""
    parts = [run.name, run.origin, run.command, environment, image, message.key, message.etag]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
