"""A server that answers a GET of S3 and the batches of SQS, always the same, as fast as it can.

    python -m tests.bench.transport_server [CERTIFICATE]

prints its port. It checks nothing: what is measured is who asks.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import ssl
import zlib
from pathlib import Path
from typing import cast

BODY = bytes(range(256)) * 4
BATCH = 10

_CHECKSUM = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
_RECEIVED = {
    "Messages": [
        {
            "MessageId": f"00000000-0000-0000-0000-00000000000{number}",
            "ReceiptHandle": "r" * 400,
            "MD5OfBody": "0" * 32,
            "Body": json.dumps({"run": "run", "key": f"folder/{number}.txt", "size": 1024}),
            "Attributes": {"ApproximateReceiveCount": "1"},
        }
        for number in range(BATCH)
    ]
}
_SENT = {
    "Successful": [
        {"Id": str(n), "MessageId": "0" * 36, "MD5OfMessageBody": "0" * 32} for n in range(BATCH)
    ]
}


def _answer(body: bytes, *lines: str) -> bytes:
    head = [
        "HTTP/1.1 200 OK", "x-amz-id-2: " + "i" * 76, "x-amz-request-id: 0123456789ABCDEF",
        "Date: Thu, 01 Jan 2026 00:00:00 GMT", *lines, f"Content-Length: {len(body)}", "", "",
    ]  # fmt: skip
    return "\r\n".join(head).encode() + body


_OBJECT = _answer(
    BODY, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT", f'ETag: "{"e" * 32}"',
    f"x-amz-checksum-crc32: {_CHECKSUM}", "Content-Type: binary/octet-stream", "Server: AmazonS3",
)  # fmt: skip
_JSON = "Content-Type: application/x-amz-json-1.0"
_ANSWERS = {
    b"ReceiveMessage": _answer(json.dumps(_RECEIVED).encode(), _JSON),
    b"SendMessageBatch": _answer(json.dumps(_SENT).encode(), _JSON),
}


class _Answering(asyncio.Protocol):
    def __init__(self) -> None:
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end].lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            whole = end + 4 + int(length or 0)
            if len(self._got) < whole:
                return
            name = self._got[:end].partition(b"AmazonSQS.")[2].partition(b"\r\n")[0]
            self._transport.write(_ANSWERS.get(name, _OBJECT))
            self._got = self._got[whole:]


async def main(certificate: Path | None) -> None:
    """Serve until killed."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Answering, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await server.serve_forever()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.transport_server")
    parser.add_argument("certificate", type=Path, nargs="?")
    return parser


if __name__ == "__main__":
    asyncio.run(main(make_parser().parse_args().certificate))
