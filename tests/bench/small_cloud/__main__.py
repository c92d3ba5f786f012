"""A small S3 and SQS on loopback for measurements: fast, in memory, not strict.

    python -m tests.bench.small_cloud [--port N] [--delay SECONDS] [--megabytes N] [--certificate F]

It prints its URL when it is ready, and with a certificate another one for TLS. It ends with its
standard input, or when interrupted. It uses uvloop if that is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import ssl
import sys

from tests.bench.small_cloud.cloud import SmallCloud
from tests.bench.small_cloud.http import Connection


async def serve(cloud: SmallCloud, port: int, context: ssl.SSLContext | None) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    for tls in (None, context) if context else (None,):
        server = await loop.create_server(
            lambda: Connection(cloud.handle), "127.0.0.1", port, backlog=1024, ssl=tls
        )
        scheme, address = "https" if tls else "http", server.sockets[0].getsockname()
        sys.stdout.write(f"{scheme}://127.0.0.1:{address[1]}\n")
        port = 0
    sys.stdout.flush()
    input_reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(input_reader)
    await loop.connect_read_pipe(lambda: protocol, sys.stdin)
    await input_reader.read()
    server.close()


def main() -> None:
    options = make_parser().parse_args()
    try:
        import uvloop as loops  # noqa: PLC0415 - it may not be there
    except ImportError:
        loops = asyncio
    # A million messages are no reason to look for circles among them again and again.
    gc.set_threshold(100_000, 50, 1000)
    cloud = SmallCloud(options.delay, options.megabytes * 1e6)
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
    loops.run(serve(cloud, options.port, context))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.small_cloud")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each request takes")
    parser.add_argument("--megabytes", type=float, default=0.0, help="per second and connection")
    parser.add_argument("--certificate", help="serve with TLS, too; the file has the key as well")
    return parser


if __name__ == "__main__":
    main()
