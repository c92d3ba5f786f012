"""Logins as AWS hands them out, from the worker's calls to a registry that demands them.

Amazon's registry is one on loopback under Amazon's own name, over TLS: a proxy leads there. It
takes the very token that the service hands out, and no other. What AWS itself adds (who may have
the token, which repositories it opens) is not there.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from tests.functional.agent.bench import SWIFT
from tests.functional.container.images import (
    HASHED_LOGIN,
    LOGIN,
    Made,
    Registry,
    entry,
    layer,
    make_certificate,
    make_image,
    needs_registry,
    serve_registry,
)
from tests.functional.moto_server import moto_server

from parallelize_agent.container.pull import Puller
from parallelize_agent.machine.metadata import Instance
from parallelize_agent.services import opener
from parallelize_core.clients import RequestCounts
from parallelize_core.container_image import Image
from parallelize_core.errors import ParallelizeError, SetupError, UsageError
from parallelize_core.registry import find_login
from parallelize_core.testing import InMemoryStore

pytestmark = needs_registry

ACCOUNT, REGION = "123456789012", "eu-central-1"
ECR = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"

HASHED_TOKEN = "AWS:$2b$04$QwYiG7ob2bWHoWALgqTV8e3Zh/tm.PVJwQ0TFWU1JyD4.oEfdxfcm\n"
"""The login in moto's authorization token, `123456789012-auth-token`, as htpasswd has it."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def puller(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Puller:
    """What pulls on a worker, with the worker's own clients of AWS."""
    for name, value in (
        ("AWS_ENDPOINT_URL", endpoint), ("AWS_ACCESS_KEY_ID", "role"),
        ("AWS_SECRET_ACCESS_KEY", "role"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    config = SWIFT.model_copy(update={"region": REGION})
    open_client = opener(config, Instance("w1", "t.small", "z1", "spot"), RequestCounts())
    return Puller(partial(find_login, open_client=open_client), lambda _: InMemoryStore())


def pull(image: Image, puller: Puller, folder: Path) -> int:
    """Pull an image; return how many layers came."""
    folder.mkdir(parents=True)
    return len(puller.pull(image, folder / "parts", lambda size: 10**9).layers)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_image(tmp_path / "image", [layer(entry("a", b"x" * 1000))])


# Amazon's registry.


@dataclass
class Proxy:
    """A proxy that leads every host to one address, and keeps which were asked for."""

    to: tuple[str, int]
    asked: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def serve(self) -> Iterator[str]:
        """Yield its URL."""
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                proxy.asked.append(self.rfile.readline().split()[1].decode())
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                with socket.create_connection(proxy.to) as there:
                    back = threading.Thread(target=pipe, args=(there, self.connection))
                    back.start()
                    pipe(self.connection, there)
                    back.join()

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()


def pipe(source: socket.socket, target: socket.socket) -> None:
    """Send on what comes, to its end."""
    with contextlib.suppress(OSError):
        while content := source.recv(2**16):
            target.sendall(content)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@dataclass
class Amazon:
    """A registry under Amazon's name, and the hosts that were asked for on the way to it."""

    registry: Registry
    asked: list[str]

    def image(self, made: Made) -> Image:
        """Put an image there, by the files, as nobody here may push; return what a run says."""
        with serve_registry(self.registry.log.parent) as open_one:
            digest = open_one.push(made, "lab/measure:1")
        return Image(name="measure", digest=digest, repository=f"{ECR}/lab/measure")


@contextlib.contextmanager
def amazon(folder: Path, passwords: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Amazon]:
    """Serve Amazon's registry, which takes these logins, to programs that are started meanwhile."""
    folder.mkdir()
    certificate = make_certificate(folder, f"DNS:{ECR}")
    with serve_registry(folder, passwords=passwords, certificate=certificate) as registry:
        host, _, port = registry.host.rpartition(":")
        proxy = Proxy((host, int(port)))
        with proxy.serve() as url:
            monkeypatch.setenv("HTTPS_PROXY", url)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
            yield Amazon(registry, proxy.asked)


def test_the_roles_own_token_opens_amazons_registry(
    puller: Puller, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with amazon(tmp_path / "amazon", HASHED_TOKEN, monkeypatch) as there:
        assert pull(there.image(made), puller, tmp_path / "pulled") == 1
        assert set(there.asked) == {f"{ECR}:443"}
        stranger = Puller(lambda *_: None, lambda _: InMemoryStore())
        with pytest.raises(SetupError, match=r"no basic auth|authentication required"):
            pull(there.image(made), stranger, tmp_path / "other")


def test_amazons_registry_refuses_what_is_not_its_token_in_its_own_words(
    puller: Puller, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        amazon(tmp_path / "amazon", HASHED_LOGIN, monkeypatch) as there,
        pytest.raises(SetupError, match=r"authentication required|unauthorized"),
    ):
        pull(there.image(made), puller, tmp_path / "pulled")


# A secret by its ARN.


def secret(puller_endpoint: str, content: object) -> str:
    """Put a secret into Secrets Manager; return its ARN."""
    client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=puller_endpoint)
    text = json.dumps(content)
    arn: str = client.create_secret(Name=f"login-{uuid4()}", SecretString=text)["ARN"]
    return arn


@pytest.fixture
def closed(made: Made, tmp_path: Path) -> Iterator[Image]:
    """An image in a registry that wants the login of the tests."""
    with serve_registry(tmp_path / "closed", passwords=HASHED_LOGIN) as registry:
        yield registry.image(made, "closed")


def test_a_secret_by_its_arn_opens_the_registry(
    puller: Puller, closed: Image, endpoint: str, tmp_path: Path
) -> None:
    arn = secret(endpoint, {"username": LOGIN[0], "password": LOGIN[1]})
    assert pull(closed.model_copy(update={"secret": arn}), puller, tmp_path / "pulled") == 1


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ({"username": LOGIN[0], "password": "another"}, SetupError, "cannot be read"),
        (["no", "login"], UsageError, "is not a login"),
    ],
)
def test_a_secret_that_is_no_login_there_is_told(
    puller: Puller, closed: Image, endpoint: str, tmp_path: Path,
    content: object, error: type[ParallelizeError], said: str,
) -> None:  # fmt: skip
    arn = secret(endpoint, content)
    with pytest.raises(error, match=said) as refused:
        pull(closed.model_copy(update={"secret": arn}), puller, tmp_path / "pulled")
    assert "another" not in str(refused.value)


def test_a_secret_that_is_not_there_is_told(puller: Puller, closed: Image, tmp_path: Path) -> None:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:none-AbCdEf"
    with pytest.raises(SetupError, match="no login for the image"):
        pull(closed.model_copy(update={"secret": arn}), puller, tmp_path / "pulled")
