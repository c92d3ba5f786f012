"""Bodies that break off or change on their way: a server on loopback that does it on purpose."""

from __future__ import annotations

import base64
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest

from parallelize_core.aws_errors import explain
from parallelize_core.clients import Clients
from parallelize_core.errors import ServiceError
from parallelize_core.store import S3Store

BODY = bytes(range(256)) * 8192


class Faults(ThreadingHTTPServer):
    """Serves BODY; the next `cut` answers break off, the next `flipped` have a wrong byte."""

    cut = 0
    flipped = 0
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next_body(self) -> bytes:
        self.requests += 1
        if self.cut:
            self.cut -= 1
            return BODY[: len(BODY) // 2]
        if self.flipped:
            self.flipped -= 1
            return b"!" + BODY[1:]
        return BODY


class Handler(BaseHTTPRequestHandler):
    server: Faults

    def do_GET(self) -> None:
        checksum = zlib.crc32(BODY).to_bytes(4, "big")
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("ETag", '"etag"')
        self.send_header("x-amz-checksum-crc32", base64.b64encode(checksum).decode())
        self.end_headers()
        self.wfile.write(self.server.next_body())

    def log_message(self, *args: object) -> None:
        pass  # no line on stderr for each request


@pytest.fixture
def faults() -> Iterator[Faults]:
    with Faults(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def store(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setenv("AWS_ENDPOINT_URL", faults.url)
    session = boto3.Session("testing", "testing", region_name="eu-west-1")
    return S3Store(Clients.make(session).s3, "bucket")


@pytest.mark.parametrize("fault", ["cut", "flipped"])
def test_a_broken_body_is_read_again(store: S3Store, faults: Faults, fault: str) -> None:
    setattr(faults, fault, 2)
    assert store.get("key") == BODY
    assert faults.requests == 3


@pytest.mark.parametrize("fault", ["cut", "flipped"])
def test_a_broken_file_is_fetched_again_whole(
    store: S3Store, faults: Faults, fault: str, tmp_path: Path
) -> None:
    setattr(faults, fault, 2)
    assert store.get_file("key", tmp_path / "file") == len(BODY)
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("fault", ["cut", "flipped"])
def test_a_body_that_breaks_every_time_is_a_fault_of_the_service(
    store: S3Store, faults: Faults, fault: str, tmp_path: Path
) -> None:
    setattr(faults, fault, 1000)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - botocore's, whichever it is
        store.get_file("key", tmp_path / "file")
    assert isinstance(explain(caught.value), ServiceError)
