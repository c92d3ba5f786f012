"""Bodies that break off or change on their way: a server on loopback that does it on purpose."""

from __future__ import annotations

import base64
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest

from parallelize_core.boto_store import S3Store
from parallelize_core.clients import Clients
from parallelize_core.errors import ChangedError, UnavailableError
from parallelize_core.parts import PART_BYTES

BODY = bytes(range(256)) * 8192


LARGE = bytes(range(256)) * (PART_BYTES // 256 + 4)


class Faults(ThreadingHTTPServer):
    """Serves `body`; the next `cut` answers break off, the next `flipped` have a wrong byte.

    After `lasts` requests the object is another one.
    """

    body = BODY
    cut = 0
    flipped = 0
    lasts = 1000
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def etag(self) -> str:
        return '"etag"' if self.requests <= self.lasts else '"another"'

    def spoil(self, body: bytes) -> bytes:
        if self.cut:
            self.cut -= 1
            return body[: len(body) // 2]
        if self.flipped:
            self.flipped -= 1
            return b"!" + body[1:]
        return body


class Handler(BaseHTTPRequestHandler):
    server: Faults

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.headers.get("If-Match", self.server.etag) != self.server.etag:
            self.send_error(412)
            return
        body, bounds = self.server.body, self.headers.get("Range")
        if bounds:
            first, last = bounds.removeprefix("bytes=").split("-")
            body = body[int(first) : int(last) + 1]
        checksum = zlib.crc32(body).to_bytes(4, "big")
        self.send_response(206 if bounds else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.server.etag)
        self.send_header("x-amz-checksum-crc32", base64.b64encode(checksum).decode())
        self.end_headers()
        # A client that wants it in parts does not read the whole.
        with suppress(ConnectionError):
            self.wfile.write(self.server.spoil(body))

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
    clients = Clients.make(session)
    return S3Store(clients.s3, "bucket", clients.parts)


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
    with pytest.raises(UnavailableError, match="arriving incomplete"):
        store.get_file("key", tmp_path / "file")


@pytest.mark.parametrize("fault", ["cut", "flipped"])
def test_of_a_large_file_only_the_broken_part_is_fetched_again(
    store: S3Store, faults: Faults, fault: str, tmp_path: Path
) -> None:
    faults.body = LARGE
    setattr(faults, fault, 2)  # of the answer that is not read, too
    assert store.get_file("key", tmp_path / "file") == len(LARGE)
    assert (tmp_path / "file").read_bytes() == LARGE
    assert faults.requests == 4


def test_a_large_file_is_never_put_together_from_two_versions(
    store: S3Store, faults: Faults, tmp_path: Path
) -> None:
    faults.body, faults.lasts = LARGE, 2
    with pytest.raises(ChangedError):
        store.get_file("key", tmp_path / "file")
