"""The list of runs: cheap, the newest first, and of whatever lies in the bucket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.watching.scene import NOW, heartbeat, result

from parallelize.runs.record.reuse import COPIER
from parallelize.runs.state.catalog import Catalog, Listed, as_json, listing
from parallelize_core.heartbeat import WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.run import Run
from parallelize_core.segment import encode_line, pack
from parallelize_core.store import ObjectInfo, Store
from parallelize_core.testing import InMemoryStore

BASE = Location("bucket", "team/")


def add(store: Store, name: str, day: int = 1, paused: str = "") -> RunLayout:
    layout = RunLayout(BASE, name)
    run = Run(
        name=name, command=("./job.sh",), input=layout.input, output=layout.output,
        created_at=f"2027-01-{day:02}T08:00:00Z", paused=paused,
    )  # fmt: skip
    store.put(layout.run_json, run.encode())
    return layout


def beat(
    store: Store, layout: RunLayout, worker: str, state: WorkerState, **changes: object
) -> None:
    store.put(layout.heartbeat(worker), heartbeat(worker, state, **changes).encode())


def runs(store: Store) -> list[Listed]:
    return Catalog(store, BASE, lambda: NOW).runs()


def test_the_newest_run_comes_first_and_what_lies_elsewhere_is_none() -> None:
    store = InMemoryStore()
    for name, day in (("b", 2), ("a", 1), ("c", 3)):
        add(store, name, day)
    store.put("runs/other/run.json", b"{}")
    assert [run.name for run in runs(store)] == ["c", "b", "a"]
    assert runs(InMemoryStore()) == []


def test_each_state_is_told_from_record_and_heartbeats() -> None:
    store = InMemoryStore()
    add(store, "new")
    add(store, "paused", paused="too many failures")
    beat(store, add(store, "running"), "i-1", WorkerState.BUSY)
    beat(store, add(store, "overdue"), "i-1", WorkerState.BUSY, seen=NOW - 1000)
    beat(store, add(store, "quiet"), "i-1", WorkerState.LEFT, seen=NOW - 1000)
    store.put(RunLayout(BASE, "incomplete").input.key("a"), b"")
    assert {run.state: run.name for run in runs(store)} == {
        name: name for name in ("new", "paused", "running", "overdue", "quiet", "incomplete")
    }


def test_what_its_workers_have_done_and_said_is_told() -> None:
    store = InMemoryStore()
    layout = add(store, "scans")
    beat(store, layout, "i-1", WorkerState.LEFT, done=3, seen=NOW - 9, reason="the run is over")
    beat(store, layout, "i-2", WorkerState.FAILED, done=4, seen=NOW - 99, reason="disk")
    [run] = runs(store)
    assert (run.done, run.alive, run.seen, run.word) == (7, 0, NOW - 9, "the run is over")


@pytest.mark.parametrize("body", [b"no json", b"{}", b'{"v": 2, "name": "odd"}'])
def test_a_record_or_a_heartbeat_that_cannot_be_read_hides_no_other_run(body: bytes) -> None:
    store = InMemoryStore()
    store.put(RunLayout(BASE, "odd").run_json, body)
    store.put(add(store, "fine").heartbeat("i-1"), body)
    assert [(run.name, run.state) for run in runs(store)] == [
        ("fine", "new"), ("odd", "incomplete"),
    ]  # fmt: skip


def test_a_folder_whose_name_no_run_can_have_is_left_out() -> None:
    store = InMemoryStore()
    store.put(BASE.key("runs", "<script>", "run.json"), b"{}")
    assert runs(store) == []


def test_what_it_costs_does_not_grow_with_the_files_and_little_with_the_looks() -> None:
    class Counting(InMemoryStore):
        listed: list[str]
        got: list[str]

        def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
            self.listed.append(prefix)
            return super().list(prefix, folder_only=folder_only)

        def get(self, key: str) -> bytes:
            self.got.append(key)
            return super().get(key)

        def folders(self, prefix: str) -> Iterator[str]:
            return iter(["scans"])

    store = Counting()
    store.listed, store.got = [], []
    layout = add(store, "scans")
    for number in range(50):
        store.put(layout.result(f"{number}"), b"{}")
    beat(store, layout, "i-1", WorkerState.LEFT)
    catalog = Catalog(store, BASE, lambda: NOW)
    catalog.runs()
    assert (store.listed, sorted(store.got)) == (
        [layout.agents.prefix], sorted([layout.run_json, layout.heartbeat("i-1")]),
    )  # fmt: skip
    store.got.clear()
    catalog.runs()
    assert store.got == [layout.run_json]


def test_a_run_says_how_many_files_failed_by_its_workers() -> None:
    store = InMemoryStore()
    layout = add(store, "scans")
    for worker, failed in (("i-1", 5), ("i-2", 7)):
        beat = heartbeat(worker, WorkerState.LEFT, done=1, failed=failed)
        store.put(layout.heartbeat(worker), beat.encode())
    head, line = listing(runs(store), NOW)
    assert head.split()[5:6] == ["failed"]
    assert line.split()[3:6] == ["0", "2", "12"]
    assert as_json(runs(store))["runs"][0]["failed_by_workers"] == 12


def test_the_lines_fit_and_cannot_steer_the_terminal() -> None:
    store = InMemoryStore()
    layout = add(store, "a" * 60)
    run = Run.decode(store.get(layout.run_json))
    hostile = run.model_copy(update={"created_at": "\x1b[2J\n" + "long " * 40})
    store.put(layout.run_json, hostile.encode())
    lines = list(listing(runs(store), NOW))
    assert len(lines) == 2
    assert all(len(line) <= 80 and line.isprintable() for line in lines)


def test_the_json_has_a_schema_and_the_whole_reason() -> None:
    store = InMemoryStore()
    add(store, "scans", paused="because " * 30)
    document = as_json(runs(store))
    assert document["schema"] == 1
    assert document["runs"][0]["reason"] == "because " * 30
    assert document["runs"][0]["seen"] is None


def test_a_run_without_workers_is_called_inactive_by_people_and_quiet_in_json() -> None:
    store = InMemoryStore()
    layout = add(store, "scans")
    store.put(layout.heartbeat("i-1"), heartbeat("i-1", WorkerState.LEFT).encode())
    _, line = listing(runs(store), NOW)
    assert line.split()[2] == "inactive"
    assert as_json(runs(store))["runs"][0]["state"] == "quiet"


def test_outputs_copied_from_another_run_count_as_done_although_no_worker_has_reported() -> None:
    store = InMemoryStore()
    layout = add(store, "scans")
    lines = [encode_line(result(key), "etag") for key in ("a", "b")]
    store.put(layout.segment(COPIER, 1, 0), pack(lines))
    store.put(layout.segment(COPIER, 1, 1), b"garbage")
    store.put(layout.segment("i-1", 1, 0), pack(lines))
    _, line = listing(runs(store), NOW)
    assert line.split()[2:6] == ["inactive", "0", "2", "0"]
    [document] = as_json(runs(store))["runs"]
    assert (document["copied"], document["done_by_workers"]) == (2, 0)
