from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.watching.scene import LAYOUT, NOW, Scene

from parallelize.context import Context
from parallelize.operations.status import with_flags
from parallelize.queues import RunCounts
from parallelize.runs.state.status import RunState, status_of
from parallelize.settings import resolve
from parallelize_core.errors import UsageError
from parallelize_core.heartbeat import WorkerState
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore


def test_every_job_is_counted_exactly_once() -> None:
    scene = Scene()
    scene.prepare("a", "b", "c", "d", "e")
    scene.finish("a")
    scene.fail("b")
    scene.beat("i-1", running=("c",))
    status = status_of(scene.snapshot())
    assert (status.done, status.failed, status.running, status.waiting) == (1, 1, 1, 2)
    assert status.total == 5


class WorkingStore(InMemoryStore):
    """A bucket in which a worker finishes a job just before keys like this are listed or read."""

    scene: Scene | None = None
    before = ""

    def get(self, key: str) -> bytes:
        self._work(key)
        return super().get(key)

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        self._work(prefix)
        return super().list(prefix, folder_only=folder_only)

    def _work(self, key: str) -> None:
        if self.scene and key.startswith(self.before):
            scene, self.scene = self.scene, None
            # In this order, as workers do it.
            scene.fail("a")
            scene.beat("i-1", failed=1)


@pytest.mark.parametrize(
    "before", [LAYOUT.heartbeat("i-1"), LAYOUT.results.prefix], ids=["heartbeat", "results"]
)
def test_a_job_that_ends_during_a_look_has_its_result_and_its_mark(before: str) -> None:
    store = WorkingStore()
    scene = Scene(store)
    scene.prepare("a", "b")
    scene.beat("i-1", running=("a",))
    store.scene, store.before = scene, before
    found = scene.snapshot()
    assert [beat.failed for beat in found.heartbeats] == [int(before != LAYOUT.results.prefix)]
    assert ([*found.finished], [one.key for one in found.failures]) == ([LAYOUT.result("a")], ["a"])


@given(
    total=st.integers(1, 30), done=st.integers(0, 30), failed=st.integers(0, 30),
    held=st.integers(0, 40),
)  # fmt: skip
def test_the_four_counts_add_up_whatever_the_heartbeats_say(
    total: int, done: int, failed: int, held: int
) -> None:
    scene = Scene()
    names = [f"f{number}" for number in range(total)]
    scene.prepare(*names)
    done = min(done, total)
    for name in names[:done]:
        scene.finish(name)
    for name in names[done : done + failed]:
        scene.fail(name)
    scene.beat("i-1", running=tuple(f"f{number}" for number in range(held)))
    status = status_of(scene.snapshot())
    assert status.done + status.failed + status.running + status.waiting == total
    assert min(status.running, status.waiting) >= 0


def test_a_file_that_ended_after_the_last_heartbeat_is_not_running() -> None:
    scene = Scene()
    scene.prepare("a", "b")
    scene.finish("a")
    scene.beat("i-1", running=("a", "b"))
    status = status_of(scene.snapshot())
    assert status.running == 1
    assert status.workers[0].beat.running == ("b",)


def test_a_busy_worker_counts_as_such_although_its_jobs_have_ended_since() -> None:
    scene = Scene()
    scene.prepare("a", "b", "c", "d", "e")
    scene.finish("a")
    scene.finish("b")
    scene.beat("i-1", running=("a", "b"))
    status = status_of(scene.snapshot())
    assert (status.done, status.running, status.waiting) == (2, 2, 1)


def test_no_more_run_than_are_left() -> None:
    scene = Scene()
    scene.prepare("a", "b", "c")
    scene.finish("a")
    scene.finish("b")
    scene.beat("i-1", running=("a", "b", "c"))
    status = status_of(scene.snapshot())
    assert (status.running, status.waiting) == (1, 0)


def test_a_workers_set_up_is_no_part_of_its_speed() -> None:
    scene = Scene()
    scene.prepare(*"abcd")
    scene.finish("a")
    scene.finish("b")
    scene.beat("i-1", done=2, started=NOW - 605, ready=NOW - 9, seen=NOW - 5)
    assert status_of(scene.snapshot()).rate == 0.5


def test_what_an_overdue_worker_held_is_waiting() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.beat("i-1", running=("a",), seen=NOW - 91)
    assert status_of(scene.snapshot()).waiting == 1


def test_it_runs_while_jobs_are_left_and_a_worker_is_alive() -> None:
    scene = Scene()
    scene.prepare("a", "b")
    scene.fail("a")
    scene.beat("i-1")
    assert status_of(scene.snapshot()).state is RunState.RUNNING


@pytest.mark.parametrize("state", [WorkerState.LEFT, WorkerState.FAILED])
def test_it_is_idle_when_jobs_are_left_and_all_workers_have_ended(state: WorkerState) -> None:
    scene = Scene()
    scene.prepare("a")
    scene.beat("i-1", state)
    assert status_of(scene.snapshot()).state is RunState.IDLE


def test_it_is_drained_when_all_have_succeeded_even_if_a_worker_is_still_there() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.finish("a")
    scene.beat("i-1", WorkerState.IDLE)
    assert status_of(scene.snapshot()).state is RunState.DRAINED


def test_it_has_failed_when_nothing_is_left_and_a_file_has_failed() -> None:
    scene = Scene()
    scene.prepare("a", "b")
    scene.finish("a")
    scene.fail("b")
    assert status_of(scene.snapshot()).state is RunState.FAILED


def test_a_mark_whose_result_says_succeeded_is_not_a_failure() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.store.put(LAYOUT.failure("a"), b"")
    scene.finish("a")
    status = status_of(scene.snapshot())
    assert (status.done, status.failed) == (1, 0)


def test_a_mark_without_a_result_is_a_job_that_is_left() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.store.put(LAYOUT.failure("a"), b"")
    status = status_of(scene.snapshot())
    assert (status.failed, status.waiting) == (0, 1)


@given(length=st.integers(900, 1000), letter=st.sampled_from(["x", "ü", "€"]))
def test_a_failure_is_found_under_a_key_so_long_that_its_mark_is_shortened(
    length: int, letter: str
) -> None:
    raw = "/".join([letter * 60] * 40)
    key = raw.encode()[:length].decode(errors="ignore").rstrip("/")
    scene = Scene()
    scene.prepare("short", key)
    scene.fail("short")
    scene.fail(key)
    assert {failure.key for failure in scene.snapshot().failures} == {"short", key}


def test_jobs_that_were_never_sent_are_told_apart() -> None:
    scene = Scene()
    scene.prepare("a", "b", "c", sent=1)
    assert status_of(scene.snapshot()).unsent == 2


def test_parts_that_are_added_later_count_at_the_next_look() -> None:
    scene = Scene()
    scene.prepare("a")
    reader = scene.reader()
    assert reader.snapshot().total == 1
    scene.prepare("b", "c")
    assert reader.snapshot().total == 3


def test_a_failure_that_is_tried_again_with_success_is_one_no_longer_at_the_next_look() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.fail("a")
    reader = scene.reader()
    assert len(reader.snapshot().failures) == 1
    scene.store.delete([LAYOUT.result("a")])
    scene.finish("a")
    assert reader.snapshot().failures == ()


def test_what_has_not_changed_is_not_read_again() -> None:
    class Counting(InMemoryStore):
        reads = 0

        def get(self, key: str) -> bytes:
            self.reads += 1
            return super().get(key)

    store = Counting()
    scene = Scene(store=store)
    scene.prepare("a", "b", "c")
    scene.fail("a")
    scene.fail("b")
    scene.beat("i-1")
    reader = scene.reader()
    reader.snapshot()
    before = store.reads
    reader.snapshot()
    assert store.reads == before + 1, "only run.json, which says whether the run is paused"


def test_a_heartbeat_that_nobody_can_read_hides_no_other() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.beat("i-1")
    scene.store.put(LAYOUT.heartbeat("i-2"), b"{broken")
    assert [worker.id for worker in status_of(scene.snapshot()).workers] == ["i-1"]


def test_a_run_that_nobody_prepared_is_a_usage_error() -> None:
    scene = Scene()
    scene.store.delete([LAYOUT.run_json])
    with pytest.raises(UsageError, match="there is no run"):
        scene.snapshot()


def test_the_run_of_the_nearest_name_is_proposed_if_there_is_one() -> None:
    scene = Scene()
    scene.store.delete([LAYOUT.run_json])
    scene.store.put(LAYOUT.base.key("runs", f"{LAYOUT.run}s", "run.json"), b"{}")
    scene.store.put(LAYOUT.base.key("runs", "another", "run.json"), b"{}")
    with pytest.raises(UsageError) as raised:
        scene.snapshot()
    assert raised.value.why == f"did you mean --run {LAYOUT.run}s?"


def test_it_says_that_nothing_was_sent() -> None:
    scene = Scene()
    scene.prepare("a", sent=0)
    assert "nothing was sent" in (status_of(scene.snapshot()).why or "")


def test_after_a_sample_that_is_done_it_says_what_is_missing() -> None:
    scene = Scene(queue=RunCounts(0, 0, 0))
    scene.prepare("a", "b", sent=0)
    scene.finish("a")
    said = status_of(scene.snapshot()).why or ""
    assert "1 result still missing: parallelize enqueue" in said


@pytest.mark.parametrize(
    ("sent", "finished", "done"),
    [(2, "ab", True), (2, "a", False), (3, "ab", False), (0, "", False)],
    ids=["all that was sent", "not all that was sent", "everything was sent", "nothing was sent"],
)
def test_a_sample_is_done_when_all_that_was_sent_has_a_result(
    sent: int, finished: str, done: bool
) -> None:
    scene = Scene()
    scene.prepare("a", "b", "c", sent=sent)
    for key in finished:
        scene.finish(key)
    assert status_of(scene.snapshot()).sample_done is done
    scene.beat("w1")
    assert not status_of(scene.snapshot()).sample_done


def test_it_says_that_no_worker_has_come() -> None:
    scene = Scene(queue=RunCounts(1, 0, 0))
    scene.prepare("a")
    assert "no worker has reported" in (status_of(scene.snapshot()).why or "")


def test_it_says_that_the_queue_is_empty_though_results_are_missing() -> None:
    scene = Scene(queue=RunCounts(0, 0, 0))
    scene.prepare("a", "b")
    scene.finish("a")
    assert "empty, but 1 result still missing" in (status_of(scene.snapshot()).why or "")


def test_it_names_the_overdue_worker_and_how_long_it_has_been_silent() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.beat("i-fine")
    scene.beat("i-lost", seen=NOW - 240)
    status = status_of(scene.snapshot())
    assert "i-lost is overdue: last seen 4m00s ago" in (status.why or "")
    assert [worker.id for worker in status.workers if worker.overdue] == ["i-lost"]


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_a_worker_whose_clock_is_wrong_is_overdue_when_s3_has_not_heard_of_it(ahead: float) -> None:
    ages = iter([0.0, 240.0, 5.0, *[0.0] * 20])
    scene = Scene(store=InMemoryStore(clock=lambda: NOW - next(ages)))
    scene.beat("i-lost", seen=NOW - 240 + ahead)
    scene.beat("i-skewed", seen=NOW - 5 + ahead)
    scene.prepare("a")
    status = status_of(scene.snapshot())
    assert [worker.id for worker in status.workers if worker.alive] == ["i-skewed"]
    assert "i-lost is overdue: last seen 4m00s ago" in (status.why or "")


def test_it_repeats_the_last_words_of_the_last_worker() -> None:
    scene = Scene(queue=RunCounts(1, 0, 0))
    scene.prepare("a")
    scene.beat("i-1", WorkerState.LEFT, seen=NOW - 100, reason="asked to leave")
    scene.beat("i-2", WorkerState.FAILED, seen=NOW - 50, reason="no space left on device")
    assert "(i-2) said: no space left on device" in (status_of(scene.snapshot()).why or "")


def test_it_says_why_a_run_is_paused() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.beat("i-1")
    scene.describe(paused="the first 20 all failed")
    why = status_of(scene.snapshot()).why or ""
    assert "paused: the first 20 all failed; parallelize enqueue resumes it" in why


def test_what_it_proposes_means_the_same_run(tmp_path: Path) -> None:
    scene = Scene()
    scene.prepare("a", sent=0)
    context = Context(resolve({}, {}, tmp_path), "scans", " --run scans --local")
    told = with_flags(context, status_of(scene.snapshot()))
    assert told.why is not None
    assert told.why.endswith("parallelize enqueue --run scans --local")


def test_a_run_that_gets_on_needs_no_explanation() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.beat("i-1")
    assert status_of(scene.snapshot()).why is None


def test_the_rate_is_that_of_the_workers_alive_and_gives_the_time_left() -> None:
    scene = Scene()
    scene.prepare("a", "b", "c")
    scene.beat("i-1", started=NOW - 105, done=40, failed=10)  # 50 files in 100 s
    scene.beat("i-2", WorkerState.LEFT, done=1000)
    status = status_of(scene.snapshot())
    assert status.rate == pytest.approx(0.5)
    assert status.eta == pytest.approx(6)


@pytest.mark.parametrize(("sent", "eta"), [(2, 2), (1, None)])
def test_no_time_is_given_for_jobs_that_nobody_has_sent(sent: int, eta: float | None) -> None:
    scene = Scene()
    scene.prepare("a", "b", "c", sent=sent)
    scene.finish("a")
    scene.beat("i-1", started=NOW - 105, done=40, failed=10)  # 50 files in 100 s
    assert status_of(scene.snapshot()).eta == eta
