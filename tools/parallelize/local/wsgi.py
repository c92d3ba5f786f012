"""WSGI applications behind the event loop: each request in a thread of its own."""

from __future__ import annotations

import asyncio
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from parallelize.local.http import Request, Response
from parallelize.local.loopback import ADDRESS

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

THREADS = 16


class Threads:
    """Answers requests by a WSGI application that may block."""

    def __init__(self, application: WSGIApplication, port: int) -> None:
        self._application = application
        self._port = port
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="wsgi")

    async def answer(self, request: Request) -> Response:
        """Answer one request; a client that has gone does not stop the thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._call, request)

    def close(self) -> None:
        """Take no more requests."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _call(self, request: Request) -> Response:
        response = Response()

        def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
            response.status = int(status.split(" ", 1)[0])
            response.headers = tuple(one for one in headers if one[0].lower() not in _OURS)
            kinds = [value for name, value in headers if name.lower() == "content-type"]
            response.content_type = kinds[0] if kinds else "text/plain"

        parts = self._application(environ_of(request, self._port), start_response)
        try:
            response.body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return response


_OURS = {"content-length", "content-type", "date", "connection", "transfer-encoding"}


def environ_of(request: Request, port: int) -> WSGIEnvironment:
    """Return a request as WSGI has it."""
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
