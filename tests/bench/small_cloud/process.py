"""The small cloud as a process of its own, on a core of its own, and what to ask of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

from tests.bench.small_cloud.cloud import Fill
from tests.functional.core.transport.certificates import Authority

ROOT = Path(__file__).parents[3]
REGION = "us-east-1"
ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class CloudProcess:
    """A small cloud that runs at `url`."""

    url: str
    tls_url: str = ""
    """Where it speaks TLS, if it does: clients go there. So much is measured as with AWS."""
    bundle: str = ""
    """The file of the authority that its certificate is from."""

    @property
    def client_url(self) -> str:
        """Where clients go."""
        return self.tls_url or self.url

    @property
    def environ(self) -> dict[str, str]:
        """The variables that lead a program there and nowhere else."""
        trusted = ("AWS_CA_BUNDLE", "SSL_CERT_FILE") if self.bundle else ()
        where = {"AWS_ENDPOINT_URL": self.client_url}
        return {**self.own_environ, **where, **dict.fromkeys(trusted, self.bundle)}

    @property
    def own_environ(self) -> dict[str, str]:
        """The variables for the bench itself, without TLS."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def stats(self) -> Any:
        """Return what was called how often, and how the queues are."""
        return json.loads(self._ask("GET", "/_/stats"))

    def forget(self) -> None:
        """Let counting begin again."""
        self._ask("POST", "/_/forget")

    def delay(self, seconds: float) -> None:
        """Let each request take so long from now on."""
        self._ask("POST", "/_/delay", json.dumps({"seconds": seconds}).encode())

    def fill(self, fill: Fill) -> None:
        """Put inputs and their messages in."""
        self._ask("POST", "/_/fill", json.dumps(asdict(fill)).encode())

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Write an object; its key needs no encoding."""
        self._ask("PUT", f"/{bucket}", b"")
        self._ask("PUT", f"/{bucket}/{key}", body)

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the first keys below a prefix; neither needs encoding."""
        listed = self._ask("GET", f"/{bucket}?list-type=2&prefix={prefix}").decode()
        return re.findall("<Key>(.*?)</Key>", listed)

    def create_queue(self, name: str) -> str:
        """Make a queue; return its URL."""
        body = json.dumps({"QueueName": name}).encode()
        headers = {"X-Amz-Target": "AmazonSQS.CreateQueue"}
        answer: str = json.loads(self._ask("POST", "/", body, headers))["QueueUrl"]
        return answer

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> bytes:
        request = Request(self.url + path, body, dict(headers), method=method)
        with urlopen(request) as answer:
            content: bytes = answer.read()
            return content


@contextmanager
def small_cloud(core: int | None = None, *, tls: bool = False) -> Iterator[CloudProcess]:
    """Run a small cloud, on the processor `core` alone if given."""
    pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
    command = [*pin, sys.executable, "-m", "tests.bench.small_cloud"]
    with TemporaryDirectory() as folder:
        authority = Authority.make(Path(folder)) if tls else None
        if authority:
            authority.server_context(ADDRESS)
            command += ["--certificate", str(authority.folder / f"{ADDRESS}.pem")]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            assert process.stdin
            try:
                url = process.stdout.readline().strip()
                tls_url = process.stdout.readline().strip() if tls else ""
                yield CloudProcess(url, tls_url, authority.bundle if authority else "")
            finally:
                process.stdin.close()
