"""A run in the small cloud, as `prep` and `launch` would make it, without their many calls."""

from __future__ import annotations

import hashlib
import io
import itertools
import zipfile
from dataclasses import dataclass
from typing import Any

from tests.bench.small_cloud.cloud import Fill
from tests.bench.small_cloud.process import CloudProcess

from parallelize_core.config import AgentConfig
from parallelize_core.job import JobMessage
from parallelize_core.layout import Location, RunLayout
from parallelize_core.run import Environment, OutputNaming, Run, Serve

BUCKET = "bench"
BASE = Location(BUCKET)
NUMBER = "{n}"
"""The small cloud puts the input's number in its place."""

_names = (f"bench-{number}" for number in itertools.count(1))


@dataclass(frozen=True)
class BenchRun:
    """A run of `script` on inputs of `input_bytes` each."""

    cloud: CloudProcess
    name: str
    queue_url: str
    script: str
    input_bytes: int

    @classmethod
    def make(
        cls, cloud: CloudProcess, script: str, input_bytes: int = 1024, serve: Serve | None = None
    ) -> BenchRun:
        """Write the run's record and its environment, make its queue; there is no input yet."""
        name = next(_names)
        layout = RunLayout(BASE, name)
        content = _zipped("job.sh", script)
        identity = hashlib.sha256(content).hexdigest()
        cloud.put(BUCKET, layout.environment(identity), content)
        run = Run(
            name=name,
            command=("./job.sh",),
            environment=Environment(
                bucket=BUCKET, key=layout.environment(identity), identity=identity
            ),
            input=layout.input,
            output=layout.output,
            serve=serve,
            naming=OutputNaming(name="{dir}/{stem}-{hash}{suffix}"),
            created_at="2026-01-01T00:00:00.000Z",
        )
        cloud.put(BUCKET, layout.run_json, run.encode())
        cloud.create_queue(f"{name}-dead")
        return cls(cloud, name, cloud.create_queue(name), script, input_bytes)

    def config(self, slots: int, **changes: Any) -> str:
        """Return an agent's configuration; `changes` are to what it is by default."""
        settings: dict[str, Any] = {
            "region": "us-east-1", "lease_seconds": 120, "poll_seconds": 1, "shutdown": False,
            "stop_grace_seconds": 1, **changes,
        }  # fmt: skip
        return AgentConfig(
            run=self.name, bucket=BUCKET, queue_url=self.queue_url,
            dead_letter_queue_url=f"{self.queue_url}-dead", slots=slots, **settings,
        ).encode()  # fmt: skip

    def add(self, count: int, first: int = 0, delay_seconds: float = 0) -> None:
        """Put inputs in, and their messages on the queue."""
        content = "x" * (self.input_bytes - 1) + "\n"
        etag = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
        key = f"{NUMBER}.txt"
        message = JobMessage(run=self.name, key=key, size=self.input_bytes, etag=etag)
        place = RunLayout(BASE, self.name).input.key(key)
        body = message.encode()
        self.cloud.fill(Fill(BUCKET, place, content, self.name, body, count, first, delay_seconds))

    def failures(self, worker: str) -> list[str]:
        """Return the keys of attempts that have failed on a worker, and of jobs that have."""
        layout = RunLayout(BASE, self.name)
        records = self.cloud.keys(BUCKET, layout.attempts.prefix)
        failed = [key for key in records if f".{worker}." in key and key.endswith(".json")]
        return failed + self.cloud.keys(BUCKET, layout.failures.prefix)

    def stats(self) -> Any:
        """Return what the cloud has seen of the run's queue."""
        return self.cloud.stats()["queues"][self.name]


def _zipped(name: str, script: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = 0o100755 << 16
        archive.writestr(info, script)
    return buffer.getvalue()
