"""Images made by hand, layer by layer, and a registry on loopback to push them to."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parallelize_core.container_image import Image

PROCESSOR = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")

LOGIN = ("somebody", "a-password")
HASHED_LOGIN = "somebody:$2b$05$B6p7Xiq0MSmzHIISHKn0mOGrjw/M60LAlyCioGtPwi/cGav4CArwK\n"
"""The same as htpasswd (bcrypt) has it."""

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
"""How what is compressed so begins."""

TOOLS = ("skopeo", "docker-registry", "umoci", "openssl")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's job")
needs_zstd = pytest.mark.skipif(not shutil.which("zstd"), reason="this machine has no zstd")
needs_registry = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS),
    reason="tests/install-packages.sh was not run",
)


def entry(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry of a layer; `fields` are those of tarfile."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def layer(*entries: tuple[tarfile.TarInfo, bytes], compressed: bool = True) -> bytes:
    """Return a layer with these entries, in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return gzip.compress(buffer.getvalue(), mtime=0) if compressed else buffer.getvalue()


def programs(*names: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return entries for programs of this machine, with the libraries that they need.

    What is no path is found on the PATH, and goes to /bin.
    """
    files: dict[str, Path] = {}
    for name in names:
        found = shutil.which(name)
        assert found, f"this machine has no {name}"
        path = Path(found).resolve()
        files[name.lstrip("/") if "/" in name else f"bin/{name}"] = path
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(", listed):
            files[library.lstrip("/")] = Path(library).resolve()
    return [entry(name, path.read_bytes(), mode=0o755) for name, path in files.items()]


def zstd(content: bytes, *words: str) -> bytes:
    """Compress something; `words` are options of the program."""
    command = ("zstd", "--quiet", "--stdout", *words)
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout


def _unpacked(content: bytes) -> bytes:
    if content[:2] == GZIP:
        return gzip.decompress(content)
    return zstd(content, "--decompress") if content[:4] == ZSTD else content


@dataclass(frozen=True)
class Made:
    """An image as an OCI layout in a folder, and its digest."""

    folder: Path
    digest: str

    @property
    def manifest(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.blob(self.digest).read_bytes())
        return document

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def make_image(
    folder: Path,
    layers: Sequence[bytes],
    config: Mapping[str, Any] | None = None,
    architecture: str = PROCESSOR,
) -> Made:
    """Write an image; `config` is what its configuration says of commands."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes, kind: str) -> dict[str, Any]:
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(content)}

    plain = [_unpacked(one) for one in layers]
    told = {
        "architecture": architecture,
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in plain],
        },
    }
    tar = "application/vnd.oci.image.layer.v1.tar"
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(told).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [
            put(one, tar + "+gzip" * (one[:2] == GZIP) + "+zstd" * (one[:4] == ZSTD))
            for one in layers
        ],
    }
    described = put(json.dumps(manifest).encode(), manifest["mediaType"])  # type: ignore[arg-type]
    index = {"schemaVersion": 2, "manifests": [described]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return Made(folder, described["digest"])


SHELL = ("sh", "cat", "cp", "id", "ls", "mkdir", "sleep", "touch", "stat", "env")


def shell_image(
    folder: Path, *entries: tuple[tarfile.TarInfo, bytes], env: Sequence[str] = ()
) -> Made:
    """Write an image with a shell, a few programs, and what else is given in a layer above."""
    layers = [layer(*programs(*SHELL))]
    if entries:
        layers.append(layer(*entries))
    return make_image(folder, layers, {"Env": list(env)})


@dataclass
class Registry:
    """A registry on loopback: images are pushed to it, and what it was asked for is in its log."""

    host: str
    log: Path
    login: tuple[str, str] | None = None

    def push(self, image: Made, name: str) -> str:
        """Send an image by a name with a tag; return the digest that it has there."""
        told = ["--dest-creds", ":".join(self.login)] if self.login else []
        subprocess.run(
            [
                "skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests",
                "--dest-tls-verify=false", *told,
                f"oci:{image.folder}", f"docker://{self.host}/{name}",
            ],
            check=True,
        )  # fmt: skip
        return image.digest

    def image(self, made: Made, name: str, *, network: bool = False) -> Image:
        """Push an image, and return what a run says of it."""
        digest = self.push(made, f"{name}:1")
        repository = f"{self.host}/{name}"
        return Image(name=name, digest=digest, repository=repository, network=network)

    def lines(self, word: str) -> list[str]:
        """Return the lines of its log that have a word."""
        return [line for line in self.log.read_text().splitlines() if word in line]


@dataclass(frozen=True)
class Certificate:
    """What a server shows; nobody trusts it who does not have its file."""

    file: Path
    key: Path


def make_certificate(folder: Path, name: str) -> Certificate:
    """Make the certificate of a server, by its `name` as openssl wants it, such as IP:127.0.0.1."""
    made = Certificate(folder / "tls.crt", folder / "tls.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=registry of the tests", "-keyout", made.key,
         "-out", made.file, "-addext", f"subjectAltName={name}"],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


def free_port() -> int:
    """Return a port on loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def serve_registry(
    folder: Path,
    *,
    passwords: str = "",
    at: str | None = None,
    certificate: Certificate | None = None,
) -> Iterator[Registry]:
    """Start a registry that keeps everything below `folder`, at a free port or where it is said.

    It wants one of the logins in `passwords`, if there are any, which are as htpasswd has them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address = at or f"127.0.0.1:{free_port()}"
    auth = tls = ""
    if passwords:
        logins = folder / "htpasswd"
        logins.write_text(passwords)
        auth = f"auth: {{htpasswd: {{realm: test, path: {logins}}}}}\n"
    if certificate:
        tls = f", tls: {{certificate: {certificate.file}, key: {certificate.key}}}"
    settings = folder / "config.yml"
    settings.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'{tls}}}\n{auth}"
    )
    log = folder / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            ["docker-registry", "serve", settings], stdout=file, stderr=file,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )  # fmt: skip
    try:
        _await(address)
        yield Registry(address, log, LOGIN if passwords == HASHED_LOGIN else None)
    finally:
        server.terminate()
        server.wait()


def _await(address: str) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
        except OSError:
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.02)
        else:
            return
