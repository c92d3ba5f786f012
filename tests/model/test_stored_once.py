"""Contents that runs share: no sweep takes away what a run names, whatever the order of the calls.

The real `prep` of an environment's files and real sweeps, over a bucket in memory. The weakened
variants show that the search would notice.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.model.schedule import Actor, Plan, plans, run

from parallelize.runs.environment import stored_once, sweep
from parallelize.together import Together
from parallelize_core import contents
from parallelize_core.contents import Contents
from parallelize_core.errors import ServiceError
from parallelize_core.file_list import FileList, Listed
from parallelize_core.layout import Location, RunLayout, shared_by_runs
from parallelize_core.testing import InMemoryStore

BASE = Location("bucket", "p/")
SHARED = Contents(shared_by_runs(BASE))
NEW = RunLayout(BASE, "new")
BODY = b"one line of a script\n"

SENDING, SWEEPING = 4, 13
"""How many calls they make at most."""

Sweep = Callable[[Any], None]
Send = Callable[[Any, Path], None]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of one file, however small."""
    path = tmp_path_factory.mktemp("environment") / "environment.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("job.py", BODY)
    return path


def listed(archive: Path) -> tuple[FileList, Listed]:
    files = stored_once.files_of(archive)
    assert files
    return files, files.files[0]


def send(store: Any, archive: Path) -> None:
    """What `prep` does: the files, then run.json, which names them."""
    files, _ = listed(archive)
    stored_once.send_environment(
        Together(store), archive, stored_once.environment_of(NEW, files, ""), None
    )()
    store.put(NEW.run_json, b"names them")


def sweeping(store: Any) -> None:
    sweep.sweep(store, BASE)


class World:
    """A bucket in which a run that is no more has left a content, and what is done in it."""

    def __init__(self, archive: Path, *, is_there: bool = True) -> None:
        self.archive = archive
        self.store = InMemoryStore("bucket")
        self.file = listed(archive)[1]
        if is_there:
            self.put_content()

    def put_content(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            content, packed = Path(folder, "content"), Path(folder, "packed")
            content.write_bytes(BODY)
            contents.send(self.store, SHARED.key(self.file.sha256), content, packed)

    def fetched(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            content, packed = Path(folder, "content"), Path(folder, "packed")
            contents.fetch(self.store, SHARED, self.file, content, packed)
            return content.read_bytes()

    def check(self) -> None:
        """What is named by run.json is in one of the places where workers look, at any moment."""
        if self.store.head(NEW.run_json):
            places = [*SHARED.places(self.store, self.file.sha256)]
            assert any(self.store.head(key) for key in places)

    def kept(self) -> list[str]:
        return [item.key for item in self.store.list(SHARED.place.prefix)]


def actors(
    archive: Path, sweeps: Sequence[Sweep], sending: Send = send, crash: tuple[int, int] = (-1, -1)
) -> list[Actor]:
    """The `prep`, and beside it a number of sweeps, one of which dies before a call."""
    made = [Actor("prep", lambda store: sending(store, archive))]
    made += [Actor(f"sweep {n}", one) for n, one in enumerate(sweeps)]
    if crash[0] >= 0:
        made[crash[0]].crashes_at = crash[1]
    return made


def search(
    archive: Path, sweeps: Sequence[Sweep], changes: int, sending: Send = send, crash_at: int = -1
) -> int:
    """Try all orders with up to that number of switches; return how many orders there were."""
    count = 0
    lengths = {0: SENDING, **{1 + n: SWEEPING for n in range(len(sweeps))}}
    for plan in plans(lengths, changes):
        world, at_work = World(archive), actors(archive, sweeps, sending, (1, crash_at))
        run(at_work, world.store, plan, world.check)
        assert world.fetched() == BODY
        assert all(actor.calls <= lengths[n] for n, actor in enumerate(at_work))
        count += 1
    return count


@pytest.mark.parametrize(
    ("sweeps", "changes"),
    [pytest.param(1, 3, id="a sweep"), pytest.param(2, 2, id="two sweeps")],
)
def test_a_sweep_never_takes_away_what_a_run_names_or_is_about_to(
    archive: Path, sweeps: int, changes: int
) -> None:
    assert search(archive, [sweeping] * sweeps, changes) > 100


@pytest.mark.parametrize("crash_at", range(SWEEPING))
def test_nor_does_one_that_dies_at_any_call_before_another(archive: Path, crash_at: int) -> None:
    search(archive, [sweeping, sweeping], 1, crash_at=crash_at)


@pytest.mark.parametrize("crash_at", range(SWEEPING))
def test_what_a_dead_sweep_has_left_is_gone_after_the_next(archive: Path, crash_at: int) -> None:
    world = World(archive)
    dead = Actor("sweep", sweeping, crash_at)
    run([dead], world.store, Plan(()), world.check)
    sweeping(world.store)
    assert world.kept() == []


def test_what_a_run_names_stays_and_what_none_names_goes(archive: Path) -> None:
    world = World(archive)
    send(world.store, archive)
    sweeping(world.store)
    assert world.fetched() == BODY
    world.store.delete([item.key for item in world.store.list(NEW.root.prefix)])
    sweeping(world.store)
    assert world.kept() == []


class AnyVersionStore:
    """A bucket that deletes whatever version there is."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delete_version(self, key: str, etag: str) -> bool:
        self._store.delete([key])
        return True


def pausing(archive: Path, sweep_one: Sweep, calls: int) -> None:
    """Have a sweep pause after some calls, while another sweep and then `prep` do all of theirs."""
    world = World(archive)
    plan = Plan(((calls, 1), (20, 2), (20, 0)))
    run(actors(archive, [sweep_one, sweeping]), world.store, plan, world.check)
    assert world.fetched() == BODY


@pytest.mark.parametrize("calls", range(1, SWEEPING))
def test_a_sweep_that_paused_takes_away_only_the_version_that_it_had_seen(
    archive: Path, calls: int
) -> None:
    pausing(archive, sweeping, calls)


def test_without_that_condition_it_would_take_away_what_came_meanwhile(archive: Path) -> None:
    # Once the other has copied the content, and this one is about to delete it.
    with pytest.raises((AssertionError, ServiceError)):
        pausing(archive, lambda store: sweeping(AnyVersionStore(store)), 4)


def look_first(store: Any, archive: Path) -> None:
    """Looks what is there, and names it afterwards."""
    files, file = listed(archive)
    if store.head(SHARED.key(file.sha256)) is None:
        store.put(SHARED.key(file.sha256), b"")
    store.put(NEW.file_list(files.identity), files.pack())
    store.put(NEW.run_json, b"names them")


def delete_at_once(store: Any) -> None:
    """Deletes what no run named a moment ago."""
    there = [*store.list(SHARED.all.prefix)]
    named = sweep._named(store, BASE)
    store.delete(one.key for one in there if SHARED.all.relative(one.key)[:64] not in named)


def settle_without_a_look(store: Any) -> None:
    """Withdraws what no run names, and believes that this is still so."""
    listed_now = [*sweep._listed(store, SHARED)]
    named = sweep._named(store, BASE)
    for one in listed_now:
        if one.sha256 not in named:
            store.delete_version(SHARED.key(one.sha256), one.etag)


@pytest.mark.parametrize(
    ("one", "sending"),
    [
        pytest.param(delete_at_once, send, id="deletes at once"),
        pytest.param(settle_without_a_look, send, id="does not look again"),
        pytest.param(sweeping, look_first, id="prep names afterwards"),
    ],
)
def test_the_search_finds_what_a_weaker_order_loses(
    archive: Path, one: Sweep, sending: Send
) -> None:
    with pytest.raises((AssertionError, ServiceError)):
        search(archive, [one], 3, sending)
