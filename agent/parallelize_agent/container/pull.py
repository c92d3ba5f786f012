"""Fetches an image by its digest, without a daemon and within limits.

skopeo runs as the agent, as it needs the registry's password. What it brings is checked again here,
and unpacked by somebody who may do less.
"""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parallelize_agent.container.manifest import (
    Manifest,
    check_blobs,
    instance,
    read_manifest,
    read_variables,
)
from parallelize_agent.process import isolation
from parallelize_core import skopeo
from parallelize_core.container_image import Image
from parallelize_core.errors import AccessError, MissingError, ServiceError, SetupError
from parallelize_core.registry import Login, auth_file
from parallelize_core.skopeo import MAX_MANIFEST_BYTES
from parallelize_core.store import Store

PULL_SECONDS = 60 * 60

FindLogin = Callable[[str, str], Login | None]
"""Finds out how to log in: at which host, with which secret."""

Room = Callable[[int], int]
"""Makes room on the disk for a number of bytes; returns how many there may be at most."""

_FIX = (
    "have skopeo on the machine image (parallelize image build puts it there), or install it by "
    "workers.root_setup"
)


@dataclass(frozen=True)
class Pulled:
    """An image's parts, in files by their digests."""

    folder: Path
    manifest: Manifest

    @property
    def layers(self) -> list[Path]:
        """The layers, the lowest first."""
        return [self.folder / blob.name for blob in self.manifest.layers]

    @property
    def variables(self) -> bytes:
        """The image configuration, which has the command's variables."""
        return read_variables((self.folder / self.manifest.config.name).read_bytes())


class Puller:
    """Pulls one image after the other; `stop` ends the one that is under way.

    `own_auth` is the file with a person's own logins, which need not be there; with it nobody else
    is asked for one.
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
        """Fetch the image into `folder`, which is made; `room` is told how large it will be.

        Raises SetupError if it does not exist, may not be read, or is not what was promised;
        UnavailableError if the registry cannot be reached; ServiceError after `stop`.
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
        """Stop the pull that is running, and start no other."""
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
        """Copy all parts into the folder, none of which may have more than `most` bytes."""
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
            f"{what} is not what was prepared",
            f"its digest is {found}, and {promised} was prepared",
            "parallelize prep",
        )


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
