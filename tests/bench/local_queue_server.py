"""The server that `local_queue.py` measures: local_queue_server.py (moto|ours) LENGTH.

It prints its URL, and ends with its standard input.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.sqs.models import Message, sqs_backends
from werkzeug.serving import make_server

from parallelize.local.disk import Disk
from parallelize.local.server import Server
from parallelize.local.sqs.queue import Queue
from parallelize.local.sqs.service import SQS

BODY = '{"v":1,"run":"bench"}'


def main(kind: str, length: str) -> None:
    with TemporaryDirectory() as folder:
        port = serve_moto(int(length)) if kind == "moto" else serve_ours(Path(folder), int(length))
        sys.stdout.write(f"http://127.0.0.1:{port}\n")
        sys.stdout.flush()
        sys.stdin.read()
        os._exit(0)  # with all that still serves


def serve_ours(folder: Path, length: int) -> int:
    disk = Disk(folder)
    queue = Queue("bench", disk)
    with disk.transaction():
        disk.execute("insert into queues values ('bench', '{}', '{}', 0)")
        for _ in range(length):
            queue.send(BODY, {}, 0)
    server = Server(folder, 0)
    server.start(SQS(disk).handle)
    return server.port


def serve_moto(length: int) -> int:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    queue = sqs_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].create_queue("bench")
    for number in range(length):
        message = Message(f"00000000-0000-0000-0000-{number:012}", BODY)
        message.mark_sent()
        queue.add_message(message)
    services = DomainDispatcherApplication(create_backend_app)
    http = make_server("127.0.0.1", 0, services, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=http.serve_forever, daemon=True).start()
    return http.server_port


if __name__ == "__main__":
    main(*sys.argv[1:])
