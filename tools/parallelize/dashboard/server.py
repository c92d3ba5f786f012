"""The dashboard's port: on loopback, read-only, and only for those who know its token.

What protects a run from others:

- The port is on 127.0.0.1, so that other machines cannot reach it, and it answers only processes
  of its owner, where the system tells who owns a connection.
- Every path begins with a random token, so that other users of this machine cannot read. It is in
  the path and not in a cookie: a browser sends the cookies of 127.0.0.1 to every port of it,
  whichever process listens there. All links are relative.
- Only the dashboard's own pages may send requests, under whatever name (`local.loopback`).
- The policy lets a page load only from here, and run no inline script.
"""

from __future__ import annotations

import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from parallelize.dashboard.site import Answer, Site
from parallelize.local.loopback import ADDRESS, OwnersOnly, foreign

SLOWEST_SECONDS = 10
"""How long a request, or the reading of its answer, may stall."""

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Dashboard(OwnersOnly, ThreadingHTTPServer):
    """A server for one site; the constructor takes the port, and raises OSError if it cannot."""

    daemon_threads = True

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site = site
        self.token = secrets.token_urlsafe()
        super().__init__((ADDRESS, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the list of runs; `RUN/` below it is a run."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log faults, but not browsers that disconnect."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Dashboard
    timeout = SLOWEST_SECONDS
    server_version = "parallelize"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with a page."""
        answer = self._answer()
        body = answer.text.encode(errors="replace")
        self.send_response(answer.status)
        self.send_header("Content-Type", f"{answer.content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer with the headers of a page."""
        self.do_GET()

    def _answer(self) -> Answer:
        if why := foreign(self.headers["Origin"], self.headers.get_all("Host", [])):
            return _refusal(why)
        target, _, query = self.path.partition("?")
        token, _, path = target.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            return _refusal(
                "open the address that `parallelize dashboard` printed: it contains a token"
            )
        return self.server.site.answer(path, dict(parse_qsl(query)))

    def end_headers(self) -> None:
        """Add the headers that every answer has, errors included."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing: browsers ask every few seconds, and the path contains the token."""


def _refusal(why: str) -> Answer:
    return Answer(HTTPStatus.FORBIDDEN, "text/plain", f"{why}\n")
