"""What it gives to fetch the parts of a large file over several connections.

    python -m tests.bench.large_files [--size-mib 256] [--rate 25] [--rounds 3]

A server on loopback sends each connection `--rate` MB/s and no more; that of S3 has a limit, too.
The same file is fetched over one connection and over as many as the agent uses, in turn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import boto3

from parallelize_core.boto_store import S3Store
from parallelize_core.clients import client_config
from parallelize_core.parts import PARTS_AT_ONCE

CHUNK = bytes(64 * 1024)
MIB = 2**20


class Shaped(ThreadingHTTPServer):
    """Serves `size` zeros, `rate` bytes a second to each connection."""

    daemon_threads = True

    def __init__(self, size: int, rate: float) -> None:
        self.size, self.rate = size, rate
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Shaped

    def do_GET(self) -> None:
        first, last = 0, self.server.size - 1
        if bounds := self.headers.get("Range"):
            first, last = map(int, bounds.removeprefix("bytes=").split("-"))
        length = last - first + 1
        self.send_response(206 if bounds else 200)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"etag"')
        self.end_headers()
        try:
            self._send(length)
        except ConnectionError:
            self.close_connection = True  # who wants it in parts does not read the whole

    def _send(self, length: int) -> None:
        begun, sent = time.monotonic(), 0
        while sent < length:
            sent += self.wfile.write(CHUNK[: length - sent])
            time.sleep(max(0.0, begun + sent / self.server.rate - time.monotonic()))

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def shaped(size: int, rate: float) -> Iterator[str]:
    with Shaped(size, rate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def measure(endpoint: str, threads: int, folder: Path) -> float:
    """Return the seconds that one fetch takes."""
    session = boto3.Session("testing", "testing", region_name="eu-west-1")
    client = session.client("s3", endpoint_url=endpoint, config=client_config(threads + 1))
    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        S3Store(client, "bucket", pool).get_file("key", folder / "file")
        return time.perf_counter() - begun


def main() -> None:
    options = make_parser().parse_args()
    seconds: dict[int, list[float]] = {1: [], PARTS_AT_ONCE: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        shaped(options.size_mib * MIB, options.rate * 1e6) as endpoint,
    ):
        for _ in range(options.rounds):
            for threads, found in seconds.items():
                found.append(measure(endpoint, threads, Path(folder)))
    for threads, found in seconds.items():
        sys.stdout.write(f"{threads} at once: {median(found):.1f} s for {options.size_mib} MiB\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size-mib", type=int, default=256)
    parser.add_argument("--rate", type=float, default=25, help="MB/s for each connection")
    parser.add_argument("--rounds", type=int, default=3)
    return parser


if __name__ == "__main__":
    main()
