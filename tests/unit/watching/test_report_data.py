"""What a report tells of a run, from the records that agents and the client really write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.watching.report_scene import at, gathered, machine, report_on
from tests.unit.watching.scene import LAYOUT, NOW, Scene, result

from parallelize.report.data import make_report
from parallelize.report.export import as_json
from parallelize.report.hints import FEW, MUCH, hints_on
from parallelize.runs.state.history import Remembered, read_attempts, read_finished
from parallelize_agent.machine.notices import read_notice
from parallelize_core.heartbeat import SPOT_NOTICE, Heartbeat, WorkerState
from parallelize_core.result import Cause

PEAKS = {
    "cpus": 4, "cpu": 0.9, "memory_bytes": 60, "memory_total_bytes": 100, "disk_bytes": 60,
    "disk_total_bytes": 100,
}  # fmt: skip


@given(st.lists(st.sampled_from(["done", "failed", "running", "waiting"]), max_size=30))
def test_every_file_is_told_once_and_the_states_add_up_to_what_status_says(fates: list) -> None:
    scene = Scene()
    names = [f"f{number}" for number in range(len(fates))]
    scene.prepare(*names)
    for name, fate in zip(names, fates, strict=True):
        if fate == "done":
            scene.finish(name)
        if fate == "failed":
            scene.fail(name)
    scene.beat("i-1", running=tuple(n for n, f in zip(names, fates, strict=True) if f == "running"))
    report = report_on(scene)
    assert sorted(file.key for file in report.files) == sorted(names)
    states = [file.state for file in report.files]
    counts = report.status
    assert [states.count(s) for s in ("done", "failed", "running", "waiting")] == [
        counts.done, counts.failed, counts.running, counts.waiting,
    ]  # fmt: skip


def test_failures_come_first_and_done_files_last() -> None:
    scene = Scene()
    scene.prepare("a", "b", "c", "d")
    scene.finish("a")
    scene.beat("i-1", running=("c",))
    scene.fail("d")
    assert [(f.key, f.state) for f in report_on(scene).files] == [
        ("d", "failed"), ("c", "running"), ("b", "waiting"), ("a", "done"),
    ]  # fmt: skip


def test_an_interruption_is_no_attempt_of_the_file() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.attempt("a", 1, worker="i-1", cause=Cause.INTERRUPTED, started_at=at(90))
    scene.attempt("a", 1, worker="i-2", started_at=at(60))
    scene.finish("a", attempt=2)
    (file,) = report_on(scene).files
    assert (file.attempts, file.handed_back) == (2, 1)


def test_a_file_without_a_result_has_the_attempts_that_are_recorded() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.attempt("a", 1, started_at=at(60))
    (file,) = report_on(scene).files
    assert (file.state, file.attempts, file.seconds) == ("waiting", 1, None)


def test_a_result_that_came_after_the_counts_is_not_told() -> None:
    scene = Scene()
    scene.prepare("a", "b")
    scene.finish("a")
    found = gathered(scene)
    scene.finish("b")
    read = read_finished(scene.store, found.snapshot, ("a", "b"))
    assert [result.key for result in read] == ["a"]


def test_logs_are_neither_taken_for_records_nor_kept_in_memory() -> None:
    scene = Scene()
    scene.attempt("table.json", 1, log="x" * 1000, started_at=at(60))
    scene.store.put(f"{LAYOUT.logs('table.json')}1.i-1.log", b"not a record")
    (record,) = read_attempts(scene.store, LAYOUT)
    assert (record.key, record.log) == ("table.json", "")


def test_the_output_of_a_file_is_all_that_it_made() -> None:
    scene = Scene()
    scene.prepare("a")
    outputs = [{"key": name, "size": 7, "sha256": "0", "etag": "e"} for name in "xy"]
    scene.finish("a", outputs=outputs)
    (file,) = report_on(scene).files
    assert file.bytes_out == 14


def test_a_command_is_drawn_at_its_end_and_never_before_its_worker_had_the_file() -> None:
    scene = Scene()
    scene.prepare("a", "b")
    scene.finish("a", started_at=at(100), finished_at=at(40), usage={"seconds": 10})
    scene.finish("b", started_at=at(30), finished_at=at(20), usage={"seconds": 3600})
    first, second = report_on(scene).executions
    assert (NOW - first.begin, NOW - first.end) == (50, 40)
    assert (NOW - second.begin, NOW - second.end) == (30, 20)


def test_a_record_without_a_time_is_counted_and_not_drawn() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.finish("a", started_at="", finished_at="soon")
    report = report_on(scene)
    assert report.status.done == 1
    assert report.executions == ()


def test_the_seconds_are_those_of_commands_that_succeeded() -> None:
    scene = Scene()
    scene.prepare("a", "b", "c")
    scene.finish("a", usage={"seconds": 4})
    scene.fail("b", usage={"seconds": 0.01})
    scene.fail("c", cause=Cause.TIMEOUT, usage={"seconds": 3600})
    report = report_on(scene)
    assert report.seconds is not None
    assert (report.seconds.p50, report.seconds.most) == (4, 4)


def test_the_cost_is_that_of_status_and_the_list_price_is_of_the_same_hours() -> None:
    scene = Scene()
    scene.prepare("a", "b")
    scene.finish("a")
    scene.beat("i-1", started=NOW - 7200, seen=NOW, hourly_usd=0.1)
    report = report_on(scene, on_demand={"c7i.xlarge": 0.25})
    assert report.cost is not None
    assert report.cost.so_far == report.status.cost == pytest.approx(0.2)
    assert report.cost.per_file == report.status.cost_per_file
    assert report.cost.to_finish == report.status.cost_to_finish
    assert report.cost.on_demand == pytest.approx(0.5)


def test_a_type_without_a_list_price_leaves_the_comparison_out() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.beat("i-1", hourly_usd=0.1)
    scene.beat("i-2", hourly_usd=0.1, type="m6i.xlarge")
    report = report_on(scene, on_demand={"c7i.xlarge": 0.25})
    assert report.cost is not None
    assert report.cost.on_demand is None


@pytest.mark.parametrize(("price", "emulated"), [(None, False), (0.1, True)])
def test_a_cost_that_nobody_knows_or_that_an_emulator_made_up_is_not_told(
    price: float | None, *, emulated: bool
) -> None:
    scene = Scene()
    scene.prepare("a")
    scene.finish("a")
    scene.beat("i-1", hourly_usd=price)
    report = report_on(scene, emulated=emulated)
    assert report.cost is None
    assert as_json(report)["cost_usd"] is None
    assert [worker["usd"] for worker in as_json(report)["workers"]] == [None]


def test_only_machines_that_are_billed_are_still_there() -> None:
    scene = Scene()
    machines = {name: machine(name, state) for name, state in
                [("i-1", "running"), ("i-2", "terminated"), ("i-3", "shutting-down")]}  # fmt: skip
    assert report_on(scene, machines=machines).still_there == 1
    assert report_on(scene, machines={}).still_there == 0
    assert report_on(scene, machines=None).still_there is None


def test_a_worker_boots_from_its_launch_to_its_start_if_ec2_still_knows_it() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.finish("a", worker="i-1", started_at=at(500), finished_at=at(400), usage={"seconds": 100})
    scene.beat("i-1", WorkerState.LEFT, started=NOW - 600, leaving=NOW - 10)
    scene.beat("i-2", started=NOW - 500)
    first, second = report_on(scene, machines={"i-1": machine("i-1")}).workers
    assert (first.phases.launched, first.phases.started) == (NOW - 700, NOW - 600)
    assert (first.phases.first_file, first.phases.leaving) == (NOW - 500, NOW - 10)
    assert (second.phases.launched, second.phases.first_file) == (None, None)


def test_a_worker_that_lost_its_machine_is_marked_even_if_it_had_no_file() -> None:
    scene = Scene()
    scene.beat("i-1", WorkerState.LEFT, leaving=NOW - 60, reason=f"{SPOT_NOTICE}: terminate")
    scene.beat("i-2", WorkerState.LEFT, leaving=NOW - 50, reason="every job has its result")
    (found,) = report_on(scene).interruptions
    assert (found.worker, found.at) == ("i-1", NOW - 60)


def test_a_worker_whose_files_were_handed_back_is_marked_once_at_the_first() -> None:
    scene = Scene()
    scene.prepare("a", "b")
    for number, key in enumerate(["a", "b"]):
        scene.attempt(key, 1, worker="i-1", cause=Cause.INTERRUPTED, started_at=at(90),
                      finished_at=at(60 - number))  # fmt: skip
    (found,) = report_on(scene).interruptions
    assert (found.worker, found.at) == ("i-1", NOW - 60)


def test_the_agent_tells_of_a_spot_notice_in_the_words_that_are_looked_for() -> None:
    class Metadata:
        def get(self, path: str) -> str | None:
            return '{"action": "terminate", "time": "2027-01-15T08:00:00Z"}'

    notice = read_notice(Metadata())  # type: ignore[arg-type]
    assert notice is not None
    assert notice.reason.startswith(SPOT_NOTICE)


def test_the_busy_share_is_of_all_slots_over_the_whole_life() -> None:
    scene = Scene()
    scene.beat("i-1", started=NOW - 100, seen=NOW, slots=4, busy_seconds=100)
    assert report_on(scene).workers[0].busy == pytest.approx(0.25)


def beat(**peaks: object) -> Heartbeat:
    return Heartbeat.model_validate({
        "worker": "i-1", "state": "left", "started": 0, "seen": 1, "interval_seconds": 1,
        "peaks": PEAKS | peaks,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("peaks", "words"),
    [
        ({"cpu": FEW / 2}, "workers.slots"),
        ({"memory_bytes": 100 * FEW / 2}, "less memory"),
        ({"memory_bytes": 100 * MUCH + 1}, "more memory"),
        ({"disk_bytes": 100 * FEW / 2}, "workers.disk"),
        ({"disk_bytes": 100 * MUCH + 1}, "raise workers.disk"),
    ],
)
def test_a_machine_that_does_not_fit_gets_a_hint(peaks: dict, words: str) -> None:
    (hint,) = hints_on([beat(**peaks)])
    assert words in hint


def test_machines_that_fit_or_were_not_measured_get_none() -> None:
    assert list(hints_on([beat()])) == []
    assert list(hints_on([beat(cpu=None)])) == []
    assert list(hints_on([beat().model_copy(update={"peaks": None})])) == []


def test_one_worker_that_needed_its_machine_is_enough_to_keep_the_size() -> None:
    small = {"cpu": 0.1, "memory_bytes": 1, "disk_bytes": 1}
    assert list(hints_on([beat(**small), beat()])) == []


def test_the_json_has_every_file_and_its_version() -> None:
    scene = Scene()
    scene.prepare("a", "b")
    scene.finish("a")
    scene.fail("b")
    document = as_json(make_report(gathered(scene)))
    assert document["schema"] == 1
    assert {file["key"]: file["state"] for file in document["files"]} == {
        "a": "done",
        "b": "failed",
    }
    assert [failure["key"] for failure in document["failures"]] == ["b"]
    assert document["provenance"]["command"] == ["./job.sh"]


def test_a_result_that_was_read_before_is_used_only_if_it_has_not_changed() -> None:
    scene = Scene()
    scene.prepare("a", "b", "c")
    read = Remembered()
    for key in ("a", "b", "c"):
        scene.finish(key, attempt=1)
        etag = scene.store.head(LAYOUT.result(key))
        assert etag
        read.add("" if key == "c" else etag.etag, result(key, attempt=1))
    scene.finish("b", attempt=2)
    assert read.of(scene.snapshot()).keys() == {"a"}
