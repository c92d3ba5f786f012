from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.watching.scene import NOW, Scene, heartbeat

from parallelize.console import WIDTH
from parallelize.runs.state.status import RunState, RunStatus, Worker, status_of, worker_of
from parallelize.runs.state.view import as_json, changes, log_line, page
from parallelize.runs.state.watch import (
    LOCAL_INTERVAL_SECONDS,
    LOCAL_LISTING_SHARE,
    LOCAL_LONGEST_SECONDS,
    LocalPause,
    LogView,
    watch,
)
from parallelize_core.heartbeat import WorkerState


def busy() -> RunStatus:
    scene = Scene()
    scene.prepare("a", "b", "c")
    scene.finish("a")
    scene.fail("b")
    scene.beat("i-1", running=("c",), done=1, failed=1)
    return status_of(scene.snapshot())


def with_workers(*workers: Worker) -> RunStatus:
    return replace(busy(), workers=workers)


def test_the_json_has_every_field_that_others_rely_on() -> None:
    document = as_json(busy())
    assert {"schema", "run", "state", "total", "done", "failed", "running", "waiting", "workers",
            "as_of"} <= document.keys()  # fmt: skip
    assert {"id", "state", "type", "done", "failed", "seen"} <= document["workers"][0].keys()
    assert document["as_of"] == "2027-01-15T08:00:00Z"
    assert document["workers"][0]["seen"] == "2027-01-15T07:59:55Z"


names = st.text(min_size=1, max_size=200)


@given(worker=names, key=names, reason=names, words=names, count=st.integers(0, 10**9))
def test_every_line_but_a_longer_word_fits_in_80_columns_and_steers_no_terminal(
    worker: str, key: str, reason: str, words: str, count: int
) -> None:
    failed = Scene().fail("a", stderr_tail=words, message=words).model_copy(update={"key": key})
    beat = heartbeat("i-1", WorkerState.DRAINING, done=count, reason=reason)
    beat = beat.model_copy(update={"worker": worker, "running": (key,), "type": reason})
    status = replace(busy(), total=count, waiting=count, workers=(worker_of(beat, NOW),),
                     last_failure=failed)  # fmt: skip
    for line in page(status):
        assert len(line) <= WIDTH or len(line.split()) == 1
        assert line.isprintable() or not any(ord(c) < 32 or ord(c) == 127 for c in line)


def test_the_page_names_the_state_and_all_four_counts() -> None:
    text = "\n".join(page(busy()))
    assert "running" in text.splitlines()[0]
    assert "1 done · 1 running · 0 waiting · 1 failed" in text


@pytest.mark.parametrize("state", RunState)
def test_the_state_is_told_in_words_that_need_no_explanation(state: RunState) -> None:
    told = {"drained": "finished", "idle": "no active workers", "failed": "finished, some failed"}
    head = page(replace(busy(), state=state))[0]
    assert f"  {told.get(state, state)}  " in head


def test_on_a_narrow_terminal_no_count_is_lost() -> None:
    status = replace(busy(), total=10**7, done=10**6, waiting=10**6, failed=123_456)
    text = " ".join(page(status, 60))
    assert all(len(line) <= 60 for line in page(status, 60))
    assert "123,456 failed" in " ".join(text.split())


def test_a_pipe_gets_a_workers_reason_in_full() -> None:
    reason = "SQS has been unavailable for 31 minutes: nothing answers at https://sqs.example"
    gone = worker_of(heartbeat("i-1", WorkerState.FAILED, reason=reason), NOW)
    [line] = [line for line in page(with_workers(gone), 1_000) if line.startswith("  i-1 ")]
    assert line.endswith(reason)


def test_the_page_shows_the_last_words_of_the_last_failure() -> None:
    assert any('"ValueError: bad header"' in line for line in page(busy()))


def test_of_several_files_in_work_one_is_named_and_the_others_counted() -> None:
    scene = Scene()
    scene.prepare("a", "b", "c")
    scene.beat("i-1", running=("a", "b", "c"))
    [line] = [line for line in page(status_of(scene.snapshot())) if "i-1" in line]
    assert "a +2" in line


def test_of_many_workers_those_that_are_there_come_first() -> None:
    left = [worker_of(heartbeat(f"i-{n:03}", WorkerState.LEFT), NOW) for n in range(30)]
    lines = page(with_workers(*left, worker_of(heartbeat("i-999"), NOW)))
    assert any("i-999" in line for line in lines)
    assert any("and 19 more" in line for line in lines)


def test_a_worker_that_comes_is_told() -> None:
    after = with_workers(worker_of(heartbeat("i-1"), NOW))
    assert list(changes(with_workers(), after)) == ["worker i-1 started (c7i.xlarge, 4 slots)"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (WorkerState.DRAINING, "worker i-1 is draining: spot notice"),
        (WorkerState.LEFT, "worker i-1 left: spot notice"),
        (WorkerState.FAILED, "worker i-1 failed: spot notice"),
    ],
)
def test_a_worker_that_goes_is_told_with_its_reason(state: WorkerState, said: str) -> None:
    before = with_workers(worker_of(heartbeat("i-1"), NOW))
    after = with_workers(worker_of(heartbeat("i-1", state, reason="spot notice"), NOW))
    assert said in list(changes(before, after))


def test_files_that_went_back_to_the_queue_are_told_once() -> None:
    before = with_workers(worker_of(heartbeat("i-1", handed_back=1), NOW))
    after = with_workers(worker_of(heartbeat("i-1", handed_back=5), NOW))
    assert list(changes(before, after)) == ["worker i-1 put 4 files back on the queue"]
    assert list(changes(after, after)) == []


def test_what_went_back_before_the_first_look_is_no_news() -> None:
    gone = worker_of(heartbeat("i-1", WorkerState.LEFT, handed_back=3), NOW)
    later = worker_of(heartbeat("i-2", WorkerState.LEFT, handed_back=2), NOW)
    assert list(changes(None, with_workers(gone))) == []
    assert list(changes(with_workers(gone), with_workers(gone, later))) == [
        "worker i-2 put 2 files back on the queue"
    ]


def test_the_reason_of_a_worker_that_has_left_is_cut_at_its_end() -> None:
    gone = worker_of(heartbeat("i-1", WorkerState.LEFT, reason="every job has its result"), NOW)
    [line] = [line for line in page(with_workers(gone)) if "i-1" in line]
    assert line.endswith(" every job has i…")


def test_busy_and_idle_are_no_news() -> None:
    before = with_workers(worker_of(heartbeat("i-1"), NOW))
    after = with_workers(worker_of(heartbeat("i-1", WorkerState.IDLE), NOW))
    assert list(changes(before, after)) == []


class Log:
    """A log view with a clock of its own."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        self.view = LogView(self.lines.append, lambda: self.now)


def test_the_log_has_a_line_at_first_and_then_one_every_30_seconds() -> None:
    log, status = Log(), busy()
    for second in range(61):
        log.now = float(second)
        log.view(status)
    assert len([line for line in log.lines if log_line(status) in line]) == 3


def test_the_log_has_a_line_when_the_state_changes() -> None:
    log = Log()
    log.view(busy())
    scene = Scene()
    scene.prepare("a")
    scene.finish("a")
    log.view(status_of(scene.snapshot()))
    assert "1/1 done" in log.lines[-1]


def test_the_log_says_why_a_run_stands_still_but_not_before_workers_can_have_come() -> None:
    log, scene = Log(), Scene()
    scene.prepare("a")
    idle = status_of(scene.snapshot())
    log.view(idle)
    assert not any("no worker" in line for line in log.lines)
    log.now = 31.0
    log.view(idle)
    assert any("no worker has reported" in line for line in log.lines)


def test_watching_ends_with_the_status_that_ends_it() -> None:
    scene = Scene()
    scene.prepare("a")

    def work(_: float) -> None:
        scene.finish("a")

    seen: list[RunStatus] = []
    reader = scene.reader()
    end = watch(
        lambda: status_of(reader.snapshot()), seen.append, lambda now: now.finished, sleep=work
    )
    assert end.finished
    assert [status.done for status in seen] == [0, 1]


def test_the_page_repeats_the_last_words_of_a_worker_to_their_end() -> None:
    scene = Scene()
    scene.prepare("a")
    last = "the set-up ./setup.sh failed: exit 1: E: Unable to locate package samtool"
    scene.beat("i-1", state=WorkerState.FAILED, reason=last)
    shown = " ".join(line.strip() for line in page(status_of(scene.snapshot())))
    assert last in shown


def test_a_reason_that_only_grows_older_is_not_news() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.beat("i-1", seen=NOW - 600, running=("a",))
    first = status_of(scene.snapshot())
    later = replace(first, why=(first.why or "").replace("10m", "11m"))
    assert first.why != later.why
    assert [line for line in changes(first, later) if "overdue" in line] == []


def seen(left: int, at: float, *, alive: bool = True) -> RunStatus:
    scene = Scene()
    scene.prepare("a")
    if alive:
        scene.beat("i-1")
    return replace(status_of(scene.snapshot()), waiting=left, running=0, taken_at=at)


def test_pauses_become_short_when_the_end_is_near() -> None:
    pause = LocalPause()
    pause(seen(1000, 0.0), 0.01)
    assert pause(seen(900, 1.0), 0.01) == LOCAL_LONGEST_SECONDS
    assert pause(seen(100, 9.0), 0.01) == 0.5
    assert pause(seen(50, 9.5), 0.01) == 0.25
    assert pause(seen(1, 10.0), 0.01) == 0.01


def test_looks_that_take_long_are_rare_until_the_end_is_near() -> None:
    pause = LocalPause()
    pause(seen(1000, 0.0), 0.5)
    assert pause(seen(900, 1.0), 0.5) == 0.5 * 900 / 100
    assert pause(seen(800, 2.0), 0.1) == LOCAL_LISTING_SHARE * 0.1


def test_without_progress_a_job_may_end_at_any_time() -> None:
    pause = LocalPause()
    for at in range(3):
        assert pause(seen(1000, float(at)), 0.01) == LOCAL_INTERVAL_SECONDS


def test_looks_at_a_run_without_workers_do_not_come_closer_together() -> None:
    pause = LocalPause()
    pause(seen(1000, 0.0), 0.01)
    assert pause(seen(1, 1.0, alive=False), 0.01) == LOCAL_INTERVAL_SECONDS
