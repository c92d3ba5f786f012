"""Outputs that one disk cannot hold are told while the run goes on, before they are downloaded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.watching.scene import LAYOUT, Scene

from parallelize.runs.state.ending import end_lines
from parallelize.runs.state.status import RunStatus, status_of
from parallelize.runs.state.view import as_json, changes, page
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    made.prepare("a.txt", "b.txt", "c.txt")
    return made


def store_outputs(scene: Scene, *names: str) -> RunStatus:
    for name in names:
        scene.store.put(LAYOUT.output.key(name), b"x")
    return status_of(scene.snapshot())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("Plot.png", "plot.png"), "same name: Plot.png and plot.png"),
        (("caf\u00e9", "cafe\u0301"), "these outputs have the same name"),
        (("x", "x/y"), "both an output and a folder of outputs: x"),
    ],
)
def test_they_are_told_as_soon_as_they_are_stored(
    scene: Scene, names: tuple[str, str], said: str
) -> None:
    before = store_outputs(scene, names[0])
    after = store_outputs(scene, names[1])
    assert said not in "\n".join(page(before))
    assert said in "\n".join(page(after, 120))
    assert any(said in line for line in changes(before, after))
    assert as_json(after)["not_on_one_disk"] == 1


def test_they_are_told_once(scene: Scene) -> None:
    known = store_outputs(scene, "A", "a")
    assert not any("the same name" in line for line in changes(known, known))


def test_names_that_every_disk_tells_apart_are_not_told(scene: Scene) -> None:
    status = store_outputs(scene, "a.png", "b.png", "b/a.png")
    assert as_json(status)["not_on_one_disk"] == 0


def test_the_summary_of_a_run_tells_them_on_a_disk_that_can_hold_them(scene: Scene) -> None:
    for key in ("a.txt", "b.txt", "c.txt"):
        scene.finish(key)
    lines = end_lines(store_outputs(scene, "A", "a"), (), 0, "")
    assert any("same name: A and a" in line for line in lines)


class CountingStore(InMemoryStore):
    """Counts how many names of outputs it has listed."""

    listed = 0

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        found = [*super().list(prefix, folder_only=folder_only)]
        self.listed += len(found) if prefix == LAYOUT.output.prefix else 0
        return iter(found)


def test_watching_does_not_list_all_names_at_each_look_and_knows_them_all_at_the_end() -> None:
    store, files = CountingStore(), [str(number) for number in range(200)]
    scene = Scene(store)
    scene.prepare(*files)
    reader = scene.reader()
    for name in files:
        store.put(LAYOUT.output.key(name), b"x")
        scene.finish(name)
        last = reader.snapshot()
    assert store.listed < 6 * len(files), "a listing at each look takes a hundred times as much"
    store.put(LAYOUT.output.key("199/x"), b"x")
    assert not last.twins.both
    assert reader.snapshot().twins.both == ("199",)
