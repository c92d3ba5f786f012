"""A heartbeat that S3 does not give: views tell of it and go on, what acts on workers stops."""

from __future__ import annotations

import pytest
from tests.unit.watching.report_scene import report_on
from tests.unit.watching.scene import LAYOUT, NOW, Scene

from parallelize.report.export import as_json as report_json
from parallelize.report.page import render
from parallelize.runs.state.catalog import Catalog, as_json, remarks
from parallelize.runs.state.snapshot import VIEW_SECONDS, Reader, read_heartbeats
from parallelize.runs.state.status import RunStatus, status_of
from parallelize.runs.state.view import as_json as status_json
from parallelize.runs.state.view import page
from parallelize_core.errors import RefusedError
from parallelize_core.heartbeat import WorkerState
from parallelize_core.testing import InMemoryStore

DAMAGED = LAYOUT.heartbeat("i-2")


class DamagedStore(InMemoryStore):
    """A bucket that refuses one object until it is `healed`."""

    healed = False

    def get(self, key: str) -> bytes:
        if key == DAMAGED and not self.healed:
            raise RefusedError(f"s3://bucket/{key} is refused", "AccessDenied")
        return super().get(key)


@pytest.fixture
def scene() -> Scene:
    scene = Scene(DamagedStore())
    scene.prepare("a", "b", "c")
    scene.beat("i-2", WorkerState.BUSY, running=("b",))
    return scene


def view_reader(scene: Scene) -> Reader:
    return Reader(scene.store, LAYOUT, clock=lambda: NOW, patience_seconds=VIEW_SECONDS)


def look(scene: Scene) -> RunStatus:
    return status_of(view_reader(scene).snapshot())


def test_status_goes_on_with_the_other_workers_and_names_the_one_that_is_not_counted(
    scene: Scene,
) -> None:
    scene.beat("i-1", WorkerState.BUSY, running=("a",))
    status = look(scene)
    assert (status.alive, status.running) == (1, 1)
    told = " ".join(" ".join(page(status)).split())
    assert "the heartbeat of worker i-2 cannot be read, so it is not counted here" in told
    assert status_json(status)["workers_unread"] == {"i-2": "AccessDenied"}


def test_a_run_is_not_said_to_be_idle_for_want_of_a_heartbeat_that_cannot_be_read(
    scene: Scene,
) -> None:
    status = look(scene)
    assert status.why is not None
    assert status.why.startswith("the heartbeat of worker i-2 cannot be read")
    assert "\n".join(page(status)).count("cannot be read") == 1


def test_a_report_goes_on_without_it_and_says_so(scene: Scene) -> None:
    made = report_on(scene, view_reader(scene).snapshot())
    assert "the heartbeat of worker i-2 cannot be read" in " ".join(render(made).split())
    assert report_json(made)["workers_unread"] == {"i-2": "AccessDenied"}


def test_a_heartbeat_that_can_be_read_again_counts_at_the_next_look(scene: Scene) -> None:
    reader = view_reader(scene)
    assert status_of(reader.snapshot()).unread
    scene.store.healed = True  # type: ignore[attr-defined]
    status = status_of(reader.snapshot())
    assert (status.alive, dict(status.unread)) == (1, {})


def test_runs_lists_every_run_and_says_which_workers_are_in_no_count(scene: Scene) -> None:
    found = Catalog(scene.store, LAYOUT.base, lambda: NOW).runs()
    assert [(one.name, one.state) for one in found] == [("scans", "unknown")]
    [line] = remarks(found)
    assert line.startswith("scans: the heartbeat of worker i-2 cannot be read")
    assert as_json(found)["runs"][0]["workers_unread"] == {"i-2": "AccessDenied"}


def test_what_starts_or_deletes_something_does_not_go_on_without_a_heartbeat(scene: Scene) -> None:
    with pytest.raises(RefusedError):
        scene.snapshot()
    with pytest.raises(RefusedError):
        read_heartbeats(scene.store, LAYOUT)
