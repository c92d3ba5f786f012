"""The images of a machine: made once, kept while there is room, and never half of one."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.functional.container.images import (
    Made,
    Registry,
    entry,
    layer,
    make_image,
    needs_registry,
    needs_root,
)

from parallelize_agent.container.images import Images
from parallelize_agent.container.pull import Puller
from parallelize_agent.job.preparation import Preparer
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.process import isolation
from parallelize_agent.process.isolation import Shared
from parallelize_agent.process.job_users import JobUsers
from parallelize_agent.process.world import COMMANDS, Start, World
from parallelize_core.container_image import Image
from parallelize_core.errors import ServiceError, SetupError
from parallelize_core.testing import InMemoryStore

pytestmark = needs_registry

MakeImages = Callable[..., Images]


@pytest.fixture
def images(tmp_path: Path) -> Iterator[MakeImages]:
    """Make the images of an agent; all share one folder."""
    with ThreadPoolExecutor(1) as thread:

        def make(name: str = "one", users: JobUsers | None = None, folder: Path = tmp_path,
                 **more: int | str) -> Images:  # fmt: skip
            scratch = ScratchSpace(folder / name / "jobs", users)
            preparer = Preparer(scratch, None, lambda *_: None)
            puller = Puller(lambda *_: None, lambda _: InMemoryStore())
            return Images(folder / "images", folder / name, puller, preparer, thread, **more)  # type: ignore[arg-type]

        yield make


@pytest.fixture
def image(registry: Registry, tmp_path: Path) -> Image:
    made = make_image(tmp_path / "image", [layer(entry("a", b"x"))])
    return registry.image(made, f"plain/{tmp_path.name.lower()}")


def manifests(registry: Registry, image: Image) -> int:
    """Return how often an image was fetched."""
    path = f"/manifests/{image.digest} "
    return sum(path in line for line in registry.lines('"GET /v2'))


def test_what_one_agent_has_made_another_finds(
    images: MakeImages, image: Image, registry: Registry
) -> None:
    first = images("one").provide(image)
    before = manifests(registry, image)
    assert images("two").provide(image).root == first.root
    assert manifests(registry, image) == before


def test_two_agents_that_want_it_at_once_fetch_it_once(
    images: MakeImages, image: Image, registry: Registry
) -> None:
    both = [images("one"), images("two")]
    with ThreadPoolExecutor(2) as pool:
        roots = list(pool.map(lambda one: one.provide(image).root, both))
    assert roots[0] == roots[1]
    fetched = [line.split()[6] for line in registry.lines(f'"GET /v2/{image.name}/blobs/')]
    assert len(fetched) == len(set(fetched)) > 0


def test_after_another_boot_it_is_made_once_more(images: MakeImages, image: Image) -> None:
    """What was written before an end that nobody saw may be half of something."""
    before = images("one", boot_id="before")
    place = before.provide(image).root
    before.release()
    (place / "a").chmod(0o644)
    (place / "a").write_bytes(b"half")
    assert (images("two", boot_id="after").provide(image).root / "a").read_bytes() == b"x"


def test_what_failed_leaves_nothing(images: MakeImages, image: Image, tmp_path: Path) -> None:
    missing = image.model_copy(update={"digest": f"sha256:{'1' * 64}"})
    with pytest.raises(SetupError):
        images().provide(missing)
    assert not (tmp_path / "images" / ("1" * 64)).exists()


def test_the_least_recently_used_go_first_when_the_disk_is_needed(
    images: MakeImages, registry: Registry, tmp_path: Path
) -> None:
    """All agents have left, as with the runs before."""
    made = {
        name: registry.image(make_image(tmp_path / name, [layer(entry(name, name.encode()))]), name)
        for name in ("old", "new")
    }
    for age, one in enumerate(reversed(made.values())):
        used = images(f"of {age}")
        used.provide(one)
        mark = tmp_path / "images" / f"{one.short}.ready"
        os.utime(mark, (1000 - age, 1000 - age))
        used.release()
    free = shutil.disk_usage(tmp_path).free
    wanting = images("wanting", reserve_bytes=10 * free)
    with pytest.raises(SetupError, match="there is no room"):
        wanting.provide(registry.image(make_image(tmp_path / "x", [layer(entry("x"))]), "third"))
    assert not list((tmp_path / "images").glob("*/rootfs"))


def test_one_that_is_in_use_is_never_removed(
    images: MakeImages, image: Image, registry: Registry, tmp_path: Path
) -> None:
    using = images("one")
    root = using.provide(image).root
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(SetupError, match="there is no room"):
        images("two", reserve_bytes=10 * free).provide(
            registry.image(make_image(tmp_path / "x", [layer(entry("x"))]), "fourth")
        )
    assert (root / "a").exists()


def test_an_agent_that_leaves_ends_the_wait_for_another(
    images: MakeImages, image: Image, tmp_path: Path
) -> None:
    waiting = images("one")
    (tmp_path / "images").mkdir()
    lock = os.open(tmp_path / "images" / f"{image.short}.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    threading.Timer(0.3, waiting.stop).start()
    with pytest.raises(ServiceError, match="leaves"):
        waiting.provide(image)
    os.close(lock)


@needs_root
def test_on_a_machine_with_users_for_jobs_it_is_nobodys_to_write_and_everybodys_to_read(
    images: MakeImages, registry: Registry, tmp_path: Path, machine: Path
) -> None:
    hidden = [entry("app/run", b"#!", mode=0o700), entry("root/x", mode=0)]
    made = make_image(tmp_path / "image", [layer(*hidden)])
    own = images("one", JobUsers.named("daemon"), machine)
    root = own.provide(registry.image(made, "app")).root
    for path in root.rglob("*"):
        status = path.stat()
        assert status.st_uid == os.getuid(), path
        assert status.st_mode & 0o022 == 0, path
        assert status.st_mode & 0o044 == 0o044, path


@needs_root
def test_a_job_in_a_container_is_its_own_user_and_reaches_no_other_job(
    images: MakeImages, registry: Registry, shell: Made, machine: Path
) -> None:
    users = JobUsers.named("daemon")
    own = images("one", users, machine)
    container = own.provide(registry.image(shell, "shell"))
    space = own.preparer._scratch
    mine, other = space.reserve("mine"), space.reserve("other")
    for one in (mine, other):
        space.make(one)
        (one.scratch / "secret").write_text(one.key)
        space.furnish(one, None)
    assert mine.user
    # Even where it sees the folders of all, as a warm command does.
    shared = Shared((space.root,))
    words = isolation.prefix(mine.user, mine.tmp, container, shared)
    script = f"id -u; cat secret; cat {other.scratch}/secret; ls {space.root}; echo >/bin/sh; :"
    start = Start((*words, "sh", "-c", script), mine.scratch, {}, World(mine.user))
    with COMMANDS.start(start) as child:
        assert child.reap()[0] == 0
        assert os.read(child.stdout, 1000).decode() == f"{mine.user.uid}\nmine"
        stderr = os.read(child.stderr, 10_000)
    assert stderr.count(b"Permission denied") == 2
    assert stderr.count(b"Read-only file system") == 1
