"""The server that `local_queue.py` measures: local_queue_server.py (moto|indexed) LENGTH.

It prints its URL, and ends with its standard input.
"""

from __future__ import annotations

import logging
import sys
from threading import Thread

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.sqs import sqs_backends
from moto.sqs.models import Message
from werkzeug.serving import make_server

from parallelize.local import sqs


def main(kind: str, length: str) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    if kind == "indexed":
        sqs.install()
    services = DomainDispatcherApplication(create_backend_app)
    fill_queue(int(length))
    http = make_server("127.0.0.1", 0, services, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=http.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{http.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


def fill_queue(length: int) -> None:
    queue = sqs_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].create_queue("bench")
    for number in range(length):
        message = Message(f"00000000-0000-0000-0000-{number:012}", '{"v":1,"run":"bench"}')
        message.mark_sent()
        queue.add_message(message)


if __name__ == "__main__":
    main(*sys.argv[1:])
