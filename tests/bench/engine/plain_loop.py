"""The peer: the calls of a job made one after the other on one event loop, and nothing else.

    python -m tests.bench.engine.plain_loop --config agent.json --work-dir DIR

It reads an agent's configuration, and for each message makes the calls that an agent cannot do
without: GET of the input, PUT of the output and of the result, both with a condition, and a tenth
of a receive and of a delete, all signed, on connections that are kept. Commands run in as many
threads as there are slots. It renews no lease, repeats nothing, limits nothing, isolates nothing,
checks nothing and never leaves: what an agent costs beyond this is what it does beyond this.
"""

# ruff: noqa: PTH102, PTH123 - pathlib would cost each job some microseconds

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import io
import json
import os
import re
import shutil
import subprocess
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from parallelize_agent.process.short_turns import take_larger_share

BATCH = 10
SECONDS_TO_BATCH = 0.1
STATUS = re.compile(rb"HTTP/1.1 (\d+)")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ETAG = re.compile(rb'\r\netag: *"([^"]*)"', re.IGNORECASE)
Headers = tuple[tuple[str, str], ...]
FIRST_WRITE: Headers = (("if-none-match", "*"),)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    etag: str
    body: bytes


class Connection(asyncio.Protocol):
    """One kept connection, for one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._reply: asyncio.Future[Reply]
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = LENGTH.search(head)
        if len(body) == (int(length[1]) if length else 0):
            status, etag = STATUS.match(head), ETAG.search(head)
            assert status
            self._buffer = b""
            self._reply.set_result(Reply(int(status[1]), etag[1].decode() if etag else "", body))

    async def ask(self, request: bytes) -> Reply:
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._reply


class Signer:
    """AWS Signature Version 4 for one service of one host."""

    def __init__(self, service: str, host: str) -> None:
        self._scope = f"{os.environ['AWS_REGION']}/{service}/aws4_request"
        self._host = host
        self._key_id = os.environ["AWS_ACCESS_KEY_ID"]
        self._day = ""
        self._key = b""

    def request(self, method: str, path: str, headers: Headers, body: bytes) -> bytes:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        digest = hashlib.sha256(body).hexdigest()
        sent = sorted(
            (*headers, ("host", self._host), ("x-amz-content-sha256", digest), ("x-amz-date", now))
        )
        names = ";".join([name for name, _ in sent])
        lines = "".join([f"{name}:{value}\n" for name, value in sent])
        canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        scope = f"{now[:8]}/{self._scope}"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashed}"
        signature = hmac.digest(self._key_of(now[:8]), to_sign.encode(), "sha256").hex()
        return (
            f"{method} {path} HTTP/1.1\r\n{lines.replace(chr(10), chr(13) + chr(10))}"
            f"authorization: AWS4-HMAC-SHA256 Credential={self._key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode() + body

    def _key_of(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
            for part in (day, *self._scope.split("/")):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._key = day, key
        return self._key


class Calls:
    """S3 and SQS: the calls that a job needs."""

    def __init__(self, config: dict[str, Any]) -> None:
        endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
        self._host, self._port = endpoint.hostname or "", endpoint.port or 80
        self._s3 = Signer("s3", endpoint.netloc)
        self._sqs = Signer("sqs", endpoint.netloc)
        self._queue_url = config["queue_url"]
        self._free: list[Connection] = []

    async def get(self, bucket: str, key: str, headers: Headers = ()) -> bytes:
        reply = await self._ask(self._s3.request("GET", f"/{bucket}/{key}", headers, b""))
        assert reply.status == 200, reply
        return reply.body

    async def put(self, bucket: str, key: str, body: bytes, headers: Headers) -> str:
        reply = await self._ask(self._s3.request("PUT", f"/{bucket}/{key}", headers, body))
        # A message that came back after its result was written.
        assert reply.status in {200, 412}, reply
        return reply.etag

    async def queue(self, operation: str, **fields: Any) -> Any:
        body = json.dumps({"QueueUrl": self._queue_url, **fields}).encode()
        headers = (
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", f"AmazonSQS.{operation}"),
        )
        reply = await self._ask(self._sqs.request("POST", "/", headers, body))
        assert reply.status == 200, reply
        return json.loads(reply.body)

    async def _ask(self, request: bytes) -> Reply:
        if self._free:
            connection = self._free.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, self._host, self._port)
        reply = await connection.ask(request)
        self._free.append(connection)
        return reply


@dataclass(frozen=True)
class Ran:
    """A command that has ended well, and what it has left."""

    seconds: float
    log: str
    outputs: dict[str, bytes]


class PlainLoop:
    """Receives, works, acknowledges."""

    def __init__(self, config: dict[str, Any], run: dict[str, Any], folder: Path) -> None:
        self._config = config
        self._run = run
        self._folder = folder
        self._calls = Calls(config)
        slots = int(config["slots"])
        self._slots = ThreadPoolExecutor(slots)
        self._room = asyncio.Semaphore(2 * slots + BATCH)
        self._done: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def work(self) -> None:
        root = f"{self._config.get('prefix', '')}runs/{self._config['run']}"
        self._result_root = f"{root}/result"
        packed = await self._calls.get(
            self._run["environment"]["bucket"], self._run["environment"]["key"]
        )
        zipfile.ZipFile(io.BytesIO(packed)).extractall(self._folder / "environment")
        self._command = self._folder / "environment" / self._run["command"][0]
        self._command.chmod(0o755)
        while True:
            for message in await self._receive():
                self._start(self._do(message))

    async def _receive(self) -> list[Any]:
        await self._room.acquire()
        self._room.release()
        answer = await self._calls.queue(
            "ReceiveMessage",
            MaxNumberOfMessages=BATCH, WaitTimeSeconds=1,
            VisibilityTimeout=self._config.get("lease_seconds", 120),
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )  # fmt: skip
        return list(answer.get("Messages", ()))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, message: dict[str, Any]) -> None:
        async with self._room:
            job = json.loads(message["Body"])
            where = self._run["input"]
            source = await self._calls.get(
                where["bucket"], where["prefix"] + job["key"], (("if-match", f'"{job["etag"]}"'),)
            )
            loop = asyncio.get_running_loop()
            ran = await loop.run_in_executor(self._slots, self._execute, job["key"], source)
            outputs = [await self._put_output(job["key"], *item) for item in ran.outputs.items()]
            await self._put_result(job, ran, outputs)
        self._acknowledge(message["ReceiptHandle"])

    async def _put_output(self, key: str, name: str, body: bytes) -> dict[str, Any]:
        where = self._run["output"]
        digest = hashlib.sha256(body).hexdigest()
        path = f"{where['prefix']}{key}-{name}"
        headers = (*FIRST_WRITE, ("x-amz-meta-input", key), ("x-amz-meta-sha256", digest))
        etag = await self._calls.put(where["bucket"], path, body, headers)
        return {"key": path, "size": len(body), "sha256": digest, "etag": etag}

    async def _put_result(self, job: dict[str, Any], ran: Ran, outputs: list[Any]) -> None:
        result = {
            "v": 1, "run": self._config["run"], "key": job["key"], "status": "succeeded",
            "seconds": ran.seconds, "log": ran.log, "outputs": outputs,
        }  # fmt: skip
        body, path = json.dumps(result).encode(), f"{self._result_root}/{job['key']}.json"
        await self._calls.put(self._config["bucket"], path, body, FIRST_WRITE)

    def _acknowledge(self, receipt: str) -> None:
        self._done.append(receipt)
        if len(self._done) == BATCH:
            self._flush()
        elif len(self._done) == 1:
            asyncio.get_running_loop().call_later(SECONDS_TO_BATCH, self._flush)

    def _flush(self) -> None:
        receipts, self._done = self._done, []
        if receipts:
            entries = [{"Id": str(n), "ReceiptHandle": each} for n, each in enumerate(receipts)]
            self._start(self._calls.queue("DeleteMessageBatch", Entries=entries))

    def _execute(self, key: str, source: bytes) -> Ran:
        """In a slot's thread: give the command a folder, let it run, read what it has printed."""
        folder = f"{self._folder}/{key.replace('/', '-')}"
        os.mkdir(folder)
        path = f"{folder}/input"
        with open(path, "wb") as file:
            file.write(source)
        started = time.monotonic()
        with open(f"{folder}/stdout", "w+b") as out, open(f"{folder}/stderr", "w+b") as err:
            command = subprocess.Popen(
                [self._command, path], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
            assert command.wait() == 0
            printed = os.pread(out.fileno(), 1 << 20, 0).decode()
            log = printed + os.pread(err.fileno(), 1 << 20, 0).decode()
        seconds = time.monotonic() - started
        outputs = {name: Path(folder, name).read_bytes() for name in printed.splitlines()}
        shutil.rmtree(folder)
        return Ran(seconds, log, outputs)


async def serve(config: dict[str, Any], folder: Path) -> None:
    key = f"{config.get('prefix', '')}runs/{config['run']}/run.json"
    run = json.loads(await Calls(config).get(config["bucket"], key))
    await PlainLoop(config, run, folder).work()


def main() -> None:
    options = make_parser().parse_args()
    # As the agent does, so both get the same share of the processor.
    take_larger_share()
    options.work_dir.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(json.loads(options.config.read_bytes()), options.work_dir))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()
