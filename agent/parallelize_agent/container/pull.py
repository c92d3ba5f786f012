"""Fetches an image by its digest, without a daemon and within limits.

skopeo runs as the agent, because it needs the registry's password. What it fetches is verified
again here, and unpacked by a user with fewer rights.

An image's manifest and configuration are read as hostile input: anyone may have made them.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallelize_agent.process import isolation
from parallelize_core import skopeo
from parallelize_core.container_image import Image
from parallelize_core.errors import AccessError, MissingError, ServiceError, SetupError
from parallelize_core.registry import Login, auth_file
from parallelize_core.skopeo import MAX_MANIFEST_BYTES
from parallelize_core.store import Store

MAX_LAYERS = 1000
MAX_CONFIG_BYTES = 8 * 1024 * 1024
MAX_VARIABLES_BYTES = 64 * 1024
"""A command's variables and arguments share 2 MiB, and each of them may take 128 KiB: execve(2)."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*=[^\0]*", re.DOTALL)


@dataclass(frozen=True)
class Blob:
    """A part of an image: its digest, and its claimed size in bytes."""

    digest: str
    size: int

    @property
    def name(self) -> str:
        """The name of the file that skopeo writes it to."""
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True)
class Manifest:
    """One image: its configuration and its layers, lowest first."""

    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """The configuration and all layers."""
        return (self.config, *self.layers)


def instance(text: bytes) -> str | None:
    """Return the digest of this machine's image in a multi-platform list.

    None if it is not a list. Raises SetupError if there is none for this machine.
    """
    manifests = _object(text).get("manifests")
    if manifests is None:
        return None
    found: dict[str, str] = {}
    for entry in _list(manifests):
        match entry:
            case {"platform": {"os": "linux", "architecture": str(processor)}}:
                found.setdefault(processor, _blob(entry).digest)
    wanted = _architecture()
    if wanted not in found:
        raise _foreign(", ".join(sorted(found)) or "no Linux architecture")
    return found[wanted]


def read_manifest(text: bytes) -> Manifest:
    """Read a manifest; raise SetupError if it is not one, or exceeds the limits."""
    document = _object(text)
    layers = _list(document.get("layers"))
    if len(layers) > MAX_LAYERS:
        raise _odd(f"it has {len(layers):,} layers, and {MAX_LAYERS:,} are allowed")
    config = _blob(document.get("config"))
    if config.size > MAX_CONFIG_BYTES:
        raise _odd(f"its configuration has {config.size:,} bytes")
    return Manifest(config, tuple(map(_blob, layers)))


def check_blobs(folder: Path, manifest: Manifest) -> None:
    """Raise SetupError unless each part matches its digest."""
    for blob in {blob.digest: blob for blob in manifest.blobs}.values():
        with (folder / blob.name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != blob.name:
            raise _odd(f"{blob.digest} has different content: its digest is sha256:{found}")


def read_variables(config: bytes) -> bytes:
    """Return the variables of an image's configuration, as `enter` reads them.

    Of a configuration, only the variables count: commands run as the job's own user in its scratch
    folder, and the run names them. Raises SetupError if the image is for other processors.
    """
    document = _object(config)
    processor = document.get("architecture")
    if isinstance(processor, str) and processor != _architecture():
        raise _foreign(processor)
    found = document.get("config")
    told = _list(found.get("Env") or []) if isinstance(found, dict) else []
    kept = [text for text in told if isinstance(text, str) and _VARIABLE.fullmatch(text)]
    content = b"".join(text.encode(errors="replace") + b"\0" for text in kept)
    if len(content) > MAX_VARIABLES_BYTES:
        raise _odd(f"its variables (ENV) have {len(content):,} bytes")
    return content


def _architecture() -> str:
    """Return this machine's architecture by its name in images."""
    machine = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _foreign(processors: str) -> SetupError:
    return SetupError(
        f"the image is for {processors[:200]!a}, but this machine is {_architecture()}",
        fix="build it for both, or choose workers.types of its architecture",
    )


def _object(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _odd(f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _odd("it is not a JSON object")
    return document


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _odd("a list is missing")
    return value


def _blob(value: object) -> Blob:
    match value:
        case {"digest": str(digest), "size": int(size)} if _DIGEST.fullmatch(digest) and size >= 0:
            return Blob(digest, size)
    raise _odd("one of its parts has no digest or no size")


def _odd(why: str) -> SetupError:
    return SetupError("the image cannot be used", why, "build and push it again")


PULL_SECONDS = 60 * 60

FindLogin = Callable[[str, str], Login | None]
"""Finds the login for a host, by the name of a secret."""

Room = Callable[[int], int]
"""Makes room on the disk for a number of bytes; returns the most that there may be."""

_FIX = (
    "use a machine image with skopeo (parallelize image build makes one), or install it in "
    "workers.root_setup"
)


@dataclass(frozen=True)
class Pulled:
    """An image's parts, in files named by their digests."""

    folder: Path
    manifest: Manifest

    @property
    def layers(self) -> list[Path]:
        """The layers, lowest first."""
        return [self.folder / blob.name for blob in self.manifest.layers]

    @property
    def variables(self) -> bytes:
        """The image configuration, which holds the command's variables."""
        return read_variables((self.folder / self.manifest.config.name).read_bytes())


class Puller:
    """Pulls one image after the other; `stop` ends a pull that is under way.

    `own_auth` is the file with a user's own logins, which may be missing; if it is there, no other
    login is asked for.
    """

    def __init__(
        self,
        find_login: FindLogin,
        open_store: Callable[[str], Store],
        own_auth: Path | None = None,
    ) -> None:
        self._find_login = find_login
        self._open_store = open_store
        self._own_auth = own_auth
        self._lock = threading.Lock()
        self._ended = False
        self._running: subprocess.Popen[bytes] | None = None

    def pull(self, image: Image, folder: Path, room: Room) -> Pulled:
        """Fetch the image into the existing `folder`; `room` receives its size.

        Raises SetupError if it does not exist, may not be read, or is not what was promised;
        UnavailableError if the registry is unreachable; ServiceError after `stop`.
        """
        program = skopeo.find(f"the image {image.name} cannot be pulled", _FIX)
        if image.kind == "docker":
            self._from_registry(program, image, folder, room)
        else:
            self._from_archive(program, image, folder, room)
        manifest = read_manifest((folder / "manifest.json").read_bytes())
        check_blobs(folder, manifest)
        return Pulled(folder, manifest)

    def stop(self) -> None:
        """Stop a pull that is running, and start no other."""
        with self._lock:
            self._ended = True
            if self._running:
                self._running.kill()

    def _from_registry(self, program: str, image: Image, folder: Path, room: Room) -> None:
        with auth_file(image.host, self._login(image)) as made:
            auth = self._own_auth if self._own_auth and self._own_auth.exists() else made
            told = skopeo.options(image.host, auth)

            def read(digest: str) -> bytes:
                uri = f"docker://{image.repository}@{digest}"
                text, given = skopeo.read_manifest(program, uri, told, self._run)
                _check_digest(f"the manifest of {image.name}", digest, given)
                return text

            digest, text = image.digest, read(image.digest)
            if of_this_machine := instance(text):
                digest, text = of_this_machine, read(of_this_machine)
            blobs = read_manifest(text).blobs
            room(sum(blob.size for blob in blobs))
            largest = max(MAX_MANIFEST_BYTES, *(blob.size for blob in blobs))
            uri = f"docker://{image.repository}@{digest}"
            told = skopeo.options(image.host, auth, "src-")
            self._copy(program, told, uri, folder, largest)

    def _login(self, image: Image) -> Login | None:
        if self._own_auth:
            return None
        try:
            return self._find_login(image.host, image.secret)
        except (AccessError, MissingError) as error:
            raise SetupError(
                f"there is no login for the image {image.name}",
                str(error),
                "let the workers' role read it: docs/containers.md, Private registries",
            ) from error

    def _from_archive(self, program: str, image: Image, folder: Path, room: Room) -> None:
        archive = folder.with_suffix(".tar")
        try:
            size = self._open_store(image.bucket).get_file(image.key, archive)
            most = room(size)
            _check_digest(f"the file of the image {image.name}", image.digest, _digest_of(archive))
            uri = f"{image.kind}:{archive}"
            self._copy(program, (), uri, folder, most)
        finally:
            archive.unlink(missing_ok=True)

    def _copy(self, program: str, told: Sequence[str], uri: str, folder: Path, most: int) -> None:
        """Copy all parts into the folder, each of at most `most` bytes."""
        words = (
            isolation.program("prlimit"), f"--fsize={most}", "--",
            program, "--insecure-policy", f"--tmpdir={folder.parent}", "copy", "--quiet",
            "--remove-signatures", f"--retry-times={skopeo.TRIES}", *told, uri, f"dir:{folder}",
        )  # fmt: skip
        skopeo.checked(lambda: self._run(words, PULL_SECONDS), f"{uri} cannot be pulled")

    def _run(self, words: Sequence[str], seconds: float) -> subprocess.CompletedProcess[bytes]:
        with self._lock:
            if self._ended:
                raise ServiceError("no image was pulled: the worker leaves")
            running = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            self._running = running
        try:
            out, error = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            raise
        finally:
            with self._lock:
                self._running = None
        if self._ended:
            raise ServiceError("the image was not pulled: the worker leaves")
        return subprocess.CompletedProcess(words, running.returncode, out, error)


def _check_digest(what: str, promised: str, found: str) -> None:
    if found != promised:
        raise SetupError(
            f"{what} has changed since it was prepared",
            f"its digest is {found}; {promised} was prepared",
            "parallelize prep",
        )


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
