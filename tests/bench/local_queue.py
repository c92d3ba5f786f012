"""How fast moto's queue and the local cloud's are, by the number of messages queued.

    python tests/bench/local_queue.py [--servers moto ours] [--lengths 100 1000 10000]
                                      [--rounds 3] [--seconds 2]

Each server is a process of its own; one boto3 client talks to it over loopback HTTP, first in
batches of ten received and deleted, then in batches of ten sent. The queues are filled behind the
protocol, because filling moto's through it would take hours. Figures are medians of the rounds, in
messages a second; servers take turns within a round, so their ratio is what to look at.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import boto3

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

KINDS = ("moto", "ours")
SERVER = Path(__file__).with_name("local_queue_server.py")
BODY = '{"v":1,"run":"bench","key":"inputs/file-0000.txt","size":1024,"etag":"0","attempt":1}'


def main() -> None:
    options = make_parser().parse_args()
    compare(options.servers, options.lengths, options.rounds, options.seconds)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--servers", choices=KINDS, nargs="+", default=KINDS)
    return parser


def compare(kinds: Sequence[str], lengths: Sequence[int], rounds: int, seconds: float) -> None:
    show(f"{'queued':>8}  {'server':8}  {'receive + delete /s':>20}  {'send /s':>10}")
    for length in lengths:
        figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind in kinds:
                figures[kind].append(measure(kind, length, seconds))
        for kind in kinds:
            received, sent = (median(column) for column in zip(*figures[kind], strict=True))
            show(f"{length:8,}  {kind:8}  {received:20,.1f}  {sent:10,.1f}")


def show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def measure(kind: str, length: int, seconds: float) -> tuple[float, float]:
    """Return messages received and deleted, and messages sent, per second."""
    with server(kind, length) as sqs:
        url = sqs.get_queue_url(QueueName="bench")["QueueUrl"]
        received = rate(lambda: receive_and_delete(sqs, url), seconds)
        sent = rate(lambda: send(sqs, url), seconds)
        return received, sent


def rate(step: Callable[[], int], seconds: float) -> float:
    """Repeat a step for some seconds, at least once, at most until it did nothing."""
    total, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        done = step()
        total += done
        if not done:
            break
    return total / max(elapsed, time.perf_counter() - start)


def receive_and_delete(sqs: SQSClient, url: str) -> int:
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    if messages:
        entries = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
        ]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return len(messages)


def send(sqs: SQSClient, url: str) -> int:
    entries = [{"Id": str(number), "MessageBody": BODY} for number in range(10)]
    return len(sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"])


@contextmanager
def server(kind: str, length: int) -> Iterator[SQSClient]:
    """Run a server with a queue of `length` messages, and connect to it."""
    with subprocess.Popen(
        [sys.executable, SERVER, kind, str(length)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        yield boto3.client(
            "sqs",
            endpoint_url=process.stdout.readline().decode().strip(),
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
        )
        # The server ends with its standard input.
        process.communicate()


if __name__ == "__main__":
    main()
