"""The images of this machine: each is pulled once, unpacked once, and shared by all jobs.

<root>/
    <digest>/rootfs/        the image's files, which nobody may write to
    <digest>/environ        its variables
    <digest>.ready          complete since this boot; its mtime is the last use
    <digest>.lock           held by each agent that uses it, or by one that makes or removes it

A ready image stays for the next agent on this machine, as in the local cloud, until another image
needs the disk.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog

from parallelize_agent.container import unpack
from parallelize_agent.container.pull import Pulled, Puller
from parallelize_agent.job.preparation import Preparer, Step
from parallelize_agent.machine import host
from parallelize_agent.process import isolation
from parallelize_agent.process.isolation import Container
from parallelize_core.container_image import IMAGES_VARIABLE, Image
from parallelize_core.errors import ServiceError, SetupError
from parallelize_core.registry import AUTH_VARIABLE, OpenClient, find_login
from parallelize_core.run import Run
from parallelize_core.store import Store

log = structlog.get_logger()

MAX_ENTRIES = 1_000_000

UNPACK_SECONDS = 60 * 60

TRIAL_SECONDS = 60

GROWTH = 3
"""The estimated disk space of an image, as a multiple of its compressed size, which is included."""

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Place:
    """The paths of one image, present or not."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        """All of it."""
        return self.root / self.name

    @property
    def mark(self) -> Path:
        """The marker that says it is complete."""
        return self.root / f"{self.name}.ready"

    @property
    def lock(self) -> Path:
        """The lock that its users hold."""
        return self.root / f"{self.name}.lock"


@dataclass
class Images:
    """The images below `root`, for an agent that works in `work`; safe to use from any thread.

    What takes time is done in a thread of `files`. `reserve_bytes` of the disk stay free.
    """

    root: Path
    work: Path
    puller: Puller
    preparer: Preparer
    files: Executor
    reserve_bytes: int = 0
    boot_id: str = field(default_factory=host.boot_id)

    @classmethod
    def of_machine(  # noqa: PLR0913, PLR0917 - what images are made with
        cls,
        work: Path,
        open_rare: Callable[[str], Store],
        open_client: OpenClient,
        preparer: Preparer,
        files: Executor,
        reserve_bytes: int,
    ) -> Self:
        """Return those of this machine; variables say what the local cloud shares with it."""
        shared, own = (os.environ.get(name) for name in (IMAGES_VARIABLE, AUTH_VARIABLE))
        puller = Puller(
            lambda host, secret: find_login(host, secret, open_client),
            open_rare,
            Path(own) if own else None,
        )
        root = Path(shared) if shared else work / "images"
        return cls(root, work, puller, preparer, files, reserve_bytes)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: dict[str, Container] = {}
        self._held: list[int] = []
        self._ended = False

    async def container(self, run: Run) -> Container | None:
        """Return the run's image, ready for jobs; None without one. Raises what `provide` does."""
        if run.image is None:
            return None
        if there := self._ready.get(run.image.digest):
            return there.with_network(allowed=run.image.network)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.files, self.provide, run.image)

    def provide(self, image: Image) -> Container:
        """Return the image, unpacked; of several threads that want it, one fetches it.

        Raises SetupError if that is impossible anywhere, or on this machine; UnavailableError if
        the registry is unreachable; ServiceError after `stop`.
        """
        with self._lock:
            if image.digest not in self._ready:
                self._ready[image.digest] = self._provided(image)
            return self._ready[image.digest].with_network(allowed=image.network)

    def stop(self) -> None:
        """Stop what is running, and start nothing more."""
        self._ended = True
        self.puller.stop()

    def release(self) -> None:
        """Release all images, once no command uses them."""
        while self._held:
            os.close(self._held.pop())

    def _provided(self, image: Image) -> Container:
        self.root.mkdir(parents=True, exist_ok=True)
        place = Place(self.root, image.short)
        if not self._hold_ready(place):
            with self._locked(place):
                if not self._is_ready(place):
                    self._make(place, image)
            if not self._hold_ready(place):
                raise ServiceError(f"the image {image.name} was removed right after it was made")
        os.utime(place.mark)
        return Container(place.folder / "rootfs", place.folder / "environ", self.work)

    def _hold_ready(self, place: Place) -> bool:
        """Use an image until this process ends, if it is complete; return whether it is."""
        descriptor = os.open(place.lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if self._is_ready(place):
            self._held.append(descriptor)
            return True
        os.close(descriptor)
        return False

    @contextmanager
    def _locked(self, place: Place) -> Iterator[None]:
        """Take an image exclusively, once its other users release it."""
        descriptor = os.open(place.lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try_lock(descriptor):
                if self._ended:
                    raise ServiceError("stopped waiting for the image: the worker leaves")
                if self._is_ready(place):
                    break  # another agent has made it, and uses it
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _is_ready(self, place: Place) -> bool:
        try:
            return place.mark.read_text(encoding="ascii") == self.boot_id
        except FileNotFoundError:
            return False

    def _make(self, place: Place, image: Image) -> None:
        begun = time.monotonic()
        place.mark.unlink(missing_ok=True)
        isolation.remove(place.folder)  # left by a failed attempt
        place.folder.mkdir(mode=0o755)
        parts = place.folder / "parts"
        parts.mkdir(mode=0o755)
        try:
            pulled = self.puller.pull(image, parts, lambda size: self._make_room(size, image))
            pulled_after = time.monotonic() - begun
            (place.folder / "environ").write_bytes(pulled.variables)
            self._unpack(place, pulled, image)
            isolation.remove(parts)
            _open_for_all(place.folder)
            self._try(place, image)
        except BaseException:
            isolation.remove(place.folder)
            raise
        place.mark.write_text(self.boot_id, encoding="ascii")
        log.info(
            "image ready",
            image=image.name,
            digest=image.digest,
            pull_seconds=round(pulled_after, 3),
            seconds=round(time.monotonic() - begun, 3),
        )

    def _unpack(self, place: Place, pulled: Pulled, image: Image) -> None:
        rootfs = place.folder / "rootfs"
        rootfs.mkdir(mode=0o755)
        most = max(0, host.free_bytes(self.root) - self.reserve_bytes)
        files = min(MAX_ENTRIES, os.statvfs(self.root).f_favail // 2 or MAX_ENTRIES)
        command = (
            sys.executable, "-I", "-S", unpack.__file__, str(rootfs), str(most), str(files),
            str(self.work), *map(str, pulled.layers),
        )  # fmt: skip
        step = Step(f"unpacking the image {image.name}", command, UNPACK_SECONDS, log="image")
        self.preparer.prepare(rootfs, rootfs, step)

    def _try(self, place: Place, image: Image) -> None:
        """Raise SetupError if this machine cannot start commands in images."""
        trial = Step("starting a command in an image", (), TRIAL_SECONDS, log="entry")
        container = Container(place.folder / "rootfs", place.folder / "environ", self.work)
        made = self.work / "entry"
        made.mkdir(exist_ok=True)
        try:
            self.preparer.prepare(made, made, trial, container.with_network(allowed=image.network))
        finally:
            isolation.remove(made)

    def _make_room(self, size: int, image: Image) -> int:
        """Remove unused images, the least recently used first, until there is room."""
        wanted = GROWTH * size + self.reserve_bytes
        for place in self._least_used():
            if host.free_bytes(self.root) >= wanted:
                break
            self._remove(place)
        free = host.free_bytes(self.root)
        if free < wanted:
            raise SetupError(
                f"there is no room for the image {image.name}",
                f"it has {size:,} bytes compressed and needs {wanted:,} free; there are {free:,}",
                "increase workers.disk",
            )
        return free - self.reserve_bytes

    def _least_used(self) -> list[Place]:
        marks = sorted(self.root.glob("*.ready"), key=lambda mark: mark.stat().st_mtime)
        return [Place(self.root, mark.stem) for mark in marks]

    def _remove(self, place: Place) -> None:
        descriptor = os.open(place.lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _try_lock(descriptor):
                place.mark.unlink(missing_ok=True)
                isolation.remove(place.folder)
                log.info("image removed", digest=place.name)
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_for_all(folder: Path) -> None:
    """Let the jobs' users read every folder, which only the agent can so far."""
    for _, _, _, descriptor in os.fwalk(folder):
        os.fchmod(descriptor, 0o755)
