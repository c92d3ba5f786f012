"""S3 and SQS behind one port, with what an observer needs beside them, below `/_/`.

    GET  /_/stats     calls by operation (count, first and last time), waits, queues, CPU
    POST /_/forget    set all of that back to nothing
    POST /_/delay     {"seconds": 0.03}: how long each request takes from now on
    POST /_/fill      see `Fill`

Times are those of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench.small_cloud import s3, sqs
from tests.bench.small_cloud.http import Answer, Request, Response
from tests.bench.small_cloud.message_queue import Observed

ADMIN = "/_/"


@dataclass(slots=True)
class Calls:
    """How often an operation was asked for, first and last when."""

    count: int = 0
    first_at: float = 0.0
    last_at: float = 0.0


@dataclass
class Fill:
    """Inputs and their messages, put in without a request for each.

    In `object` (a key) and `message` (a body), {n} is the number of the input; they count from
    `first`. `content` is every input's own.
    """

    bucket: str
    object: str
    content: str
    queue: str
    message: str
    count: int
    first: int = 0
    delay_seconds: float = 0.0


@dataclass
class SmallCloud:
    """All of the server's state. Each request takes `delay_seconds`, and what its body needs."""

    delay_seconds: float = 0.0
    bytes_per_second: float = 0.0
    """Of one connection; 0 for no limit."""
    s3: s3.S3 = field(default_factory=s3.S3)
    sqs: sqs.SQS = field(default_factory=sqs.SQS)
    calls: dict[str, Calls] = field(default_factory=dict)
    waits: int = 0
    """The most requests of which each came after the answer of the one before, since there is a
    delay: so often somebody has waited for it."""
    _answered_at: float = 0.0

    def handle(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path.startswith(ADMIN):
            return self._admin(request)
        if operation := sqs.operation_of(request):
            self._count(operation)
            answer = self.sqs.handle(operation, request)
        else:
            operation = s3.operation_of(request)
            self._count(operation)
            answer = self.s3.handle(operation, request)
        if self.delay_seconds or self.bytes_per_second:
            return self._slowed(request, answer)
        return answer

    def _count(self, operation: str) -> None:
        now = time.monotonic()
        calls = self.calls.get(operation)
        if calls is None:
            calls = self.calls[operation] = Calls(first_at=now)
        calls.count += 1
        calls.last_at = now
        if now >= self._answered_at:
            self.waits += 1
            self._answered_at = now + self.delay_seconds

    def _slowed(self, request: Request, answer: Answer) -> Answer:
        if not isinstance(answer, Response):
            # A long poll waits anyway, and then has its answer on the way.
            return self._slowed_later(request, answer)
        answer.delay_seconds = self.delay_seconds
        if self.bytes_per_second:
            size = len(request.body) + len(answer.body)
            answer.delay_seconds += size / self.bytes_per_second
        return answer

    async def _slowed_later(self, request: Request, answer: Any) -> Response:
        response: Response = await answer
        self._slowed(request, response)
        return response

    def _admin(self, request: Request) -> Response:
        fields: dict[str, Any] = json.loads(request.body or b"{}")
        match request.path.removeprefix(ADMIN):
            case "stats":
                return _json(self._stats())
            case "forget":
                self._forget()
            case "delay":
                self.delay_seconds = float(fields["seconds"])
            case "fill":
                self._fill(Fill(**fields))
            case _:
                return Response(404)
        return _json({})

    def _stats(self) -> Mapping[str, Any]:
        return {
            "waits": self.waits,
            "calls": {name: asdict(calls) for name, calls in self.calls.items()},
            "queues": {
                name: {**asdict(queue.observed), **asdict(queue.counts())}
                for name, queue in self.sqs.queues.items()
            },
            "cpu_seconds": time.process_time(),
        }

    def _forget(self) -> None:
        self.calls.clear()
        self.waits = 0
        for queue in self.sqs.queues.values():
            queue.observed = Observed()

    def _fill(self, fill: Fill) -> None:
        bucket = self.s3.buckets.setdefault(fill.bucket, s3.Bucket())
        queue = self.sqs.queues[fill.queue]
        stored = s3.StoredObject.make(fill.content.encode(), {})
        for number in range(fill.first, fill.first + fill.count):
            bucket.put(fill.object.replace("{n}", f"{number:08}"), stored)
            queue.send(fill.message.replace("{n}", f"{number:08}"), fill.delay_seconds)


def _json(fields: Mapping[str, Any]) -> Response:
    return Response(body=json.dumps(fields).encode(), content_type="application/json")
