"""The port of the local cloud: an event loop in a thread of its own.

WSGI applications run behind it, each request in a thread of its own.
"""

from __future__ import annotations

import asyncio
import io
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from parallelize.local.http import Connection, Handler, Request, Response
from parallelize.local.loopback import ADDRESS
from parallelize_core.errors import UsageError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


PORT_FILE = "port"
BACKLOG = 1024


class Server:
    """Answers requests from `start` to `close`; the constructor takes the port.

    By default it takes the port that this state folder had before, if that is free, so that
    shells that were pointed there still work.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._socket = _bind(port) if port else _bind_again(folder / PORT_FILE)
        self.port: int = self._socket.getsockname()[1]
        (folder / PORT_FILE).write_text(str(self.port), encoding="ascii")
        self._loop = asyncio.new_event_loop()
        self._thread: Thread | None = None

    def start(self, handler: Handler) -> None:
        """Serve."""
        self._thread = Thread(target=self._run, args=(handler,), name="server")
        self._thread.start()

    def close(self) -> None:
        """Stop serving; return when no request is being answered any more."""
        if self._thread:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._socket.close()

    def _run(self, handler: Handler) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(
            self._loop.create_server(
                lambda: Connection(handler), sock=self._socket, backlog=BACKLOG
            )
        )
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


def _bind(port: int) -> socket.socket:
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise UsageError(f"Port {port} is in use by another program", str(error)) from error


def _bind_again(port_file: Path) -> socket.socket:
    try:
        return _bind(int(port_file.read_text(encoding="ascii")))
    except (FileNotFoundError, ValueError, OverflowError, UsageError):
        return _bind(0)


THREADS = 16


class Threads:
    """Answers requests with a WSGI application that may block; they wait until `open` has it."""

    def __init__(self, port: int) -> None:
        self._application: Future[WSGIApplication] = Future()
        self._port = port
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="wsgi")

    def open(self, application: WSGIApplication) -> None:
        """Answer the requests that wait, and all others."""
        self._application.set_result(application)

    async def answer(self, request: Request) -> Response:
        """Answer one request; the thread continues even if the client disconnects."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._call, request)

    def close(self) -> None:
        """Take no more requests; those that still wait get an error."""
        self._application.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _call(self, request: Request) -> Response:
        response = Response()

        def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
            response.status = int(status.split(" ", 1)[0])
            response.headers = tuple(one for one in headers if one[0].lower() not in _OURS)
            kinds = [value for name, value in headers if name.lower() == "content-type"]
            response.content_type = kinds[0] if kinds else "text/plain"

        application = self._application.result()
        parts = application(environ_of(request, self._port), start_response)
        try:
            response.body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return response


_OURS = {"content-length", "content-type", "date", "connection", "transfer-encoding"}


def environ_of(request: Request, port: int) -> WSGIEnvironment:
    """Return a request in WSGI's form."""
    target = f"{request.path}?{request.query}" if request.query else request.path
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query,
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SERVER_NAME": ADDRESS,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    environ["CONTENT_TYPE"] = request.headers.get("content-type", "")
    return environ
