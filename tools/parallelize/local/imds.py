"""The instance metadata service of one local instance, as strict as EC2's when IMDSv2 is required.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html

Paths and their content come from `MetadataSource`, which is read again at each request, so the
next one sees a spot notice. Folders are listed as on EC2, sub-folders with a slash.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Protocol

from parallelize.local.loopback import ADDRESS, OwnersOnly, end_of, foreign

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path, not a secret
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
MAX_TTL_SECONDS = 21600


class MetadataSource(Protocol):
    """The source of an instance's metadata."""

    def metadata(self) -> Mapping[str, str]:
        """Return the current content of each path below `/latest/`."""


class MetadataServer:
    """IMDSv2 on its own loopback port, from construction until `close`.

    `address` is another host and port to listen on; only a network namespace can provide EC2's own.
    `admits` receives the number of a client's socket: a worker's firewall admits only the agent.
    """

    def __init__(
        self,
        source: MetadataSource,
        address: tuple[str, int] = (ADDRESS, 0),
        admits: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self.source = source
        self.admits = admits
        self._expiries: dict[str, float] = {}
        self._server = _Server(self, address)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1})
        self._thread.daemon = True
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """The value for AWS_EC2_METADATA_SERVICE_ENDPOINT."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def issue_token(self, ttl: str | None) -> str | None:
        """Return a session token for `ttl` seconds; None if EC2 would not accept that `ttl`."""
        if ttl is None or not ttl.isdecimal() or not 1 <= int(ttl) <= MAX_TTL_SECONDS:
            return None
        token = secrets.token_urlsafe()
        self._expiries[token] = time.monotonic() + int(ttl)
        return token

    def accepts(self, token: str | None) -> bool:
        """Whether `token` was issued here and has not expired."""
        return token is not None and self._expiries.get(token, 0.0) > time.monotonic()

    def read(self, path: str) -> str | None:
        """Return the content of a path below `/latest/`, or a folder's listing, or None."""
        data = self.source.metadata()
        path = path.strip("/")
        return data[path] if path in data else list_folder(data, path)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def list_folder(paths: Mapping[str, str], folder: str) -> str | None:
    """Return the names in `folder`, one per line, sub-folders with a slash; None if empty."""
    prefix = f"{folder}/" if folder else ""
    below = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    names = {name + slash for name, slash, _ in (path.partition("/") for path in below)}
    return "\n".join(sorted(names)) or None


class _Server(OwnersOnly, ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service: MetadataServer, address: tuple[str, int]) -> None:
        self.service = service
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a new connection is the owner's and admitted; otherwise it is closed."""
        if not super().verify_request(request, client_address):
            return False
        end = end_of(client_address[:2], request.getsockname()[:2])
        return end is None or self.service.admits(end.socket)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_PUT(self) -> None:
        """Issue a token, and nothing else."""
        if self._foreign():
            self._answer(HTTPStatus.FORBIDDEN)
        elif self.path != TOKEN_PATH:
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED)
        # EC2 refuses this header so that an open proxy on the instance gives no tokens away.
        elif "X-Forwarded-For" in self.headers:
            self._answer(HTTPStatus.FORBIDDEN)
        elif token := self.server.service.issue_token(self.headers[TTL_HEADER]):
            self._answer(HTTPStatus.OK, token, {TTL_HEADER: self.headers[TTL_HEADER]})
        else:
            self._answer(HTTPStatus.BAD_REQUEST)

    def do_GET(self) -> None:
        """Return what is at the path to a client that has a token."""
        if self._foreign():
            self._answer(HTTPStatus.FORBIDDEN)
            return
        if not self.server.service.accepts(self.headers[TOKEN_HEADER]):
            self._answer(HTTPStatus.UNAUTHORIZED)
            return
        latest, _, path = self.path.lstrip("/").partition("/")
        content = self.server.service.read(path) if latest == "latest" else None
        if content is None:
            self._answer(HTTPStatus.NOT_FOUND)
        else:
            self._answer(HTTPStatus.OK, content)

    def _foreign(self) -> bool:
        name = str(self.server.server_address[0])
        return foreign(self.headers["Origin"], self.headers.get_all("Host", []), name) is not None

    def _answer(
        self, status: HTTPStatus, text: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        # User data may be any bytes: those that are not text came as surrogates.
        body = (status.phrase if text is None else text).encode(errors="surrogateescape")
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: an agent asks every few seconds."""
