"""The circuit breaker: a run of which too much fails is paused by its agents."""

from __future__ import annotations

from tests.functional.agent.bench import SWIFT
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.live import at_work

from parallelize_core.pause import pause, resume
from parallelize_core.run import Limits

QUICK = SWIFT.model_copy(update={"run_refresh_seconds": 0.1})
FAIL = 'sleep 0.1; case "$1" in *bad*) exit 65;; esac'
BAD = {f"bad{n}": b"" for n in range(60)}


def test_too_many_failures_pause_the_run_and_its_workers_leave(make: MakeBench) -> None:
    bench = make(FAIL, limits=Limits(halt="5"), config=QUICK)
    bench.add({"good": b"", **BAD})
    with at_work(bench.worker("w1"), bench.worker("w2")) as workers:
        reasons = {worker.join().reason for worker in workers}
    (reason,) = reasons
    assert "files have failed (run.halt is 5)" in reason
    assert bench.read_run().paused in reason
    left = [key for key in BAD if not bench.has_result(key)]
    assert left
    assert {job.key for job in bench.waiting()} == set(left)
    assert all(worker.departure and not worker.departure.error for worker in workers)


def test_a_share_of_all_files_may_fail(make: MakeBench) -> None:
    bench = make(FAIL, limits=Limits(halt="10%"), config=QUICK)
    bench.add({**{f"good{n}": b"" for n in range(30)}, "bad1": b"", "bad2": b""})
    assert bench.run().reason == "every job has its result"
    assert bench.read_run().paused == ""


def test_a_run_whose_first_twenty_all_fail_is_paused_whatever_its_settings_say(
    make: MakeBench,
) -> None:
    bench = make(FAIL, config=QUICK)
    bench.add(BAD)
    assert "files have all failed" in bench.run().reason


TRY = 'sleep 0.1; case "$1" in *bad*) exit 1;; esac'


def test_a_run_in_which_nothing_works_is_paused_before_every_file_was_tried(
    make: MakeBench,
) -> None:
    bench = make(TRY, limits=Limits(max_attempts=3), config=QUICK)
    bench.add({f"bad{n}": b"" for n in range(200)})
    assert "files have all failed" in bench.run().reason
    untouched = [n for n in range(200) if not bench.attempts(f"bad{n}")]
    assert len(untouched) > 100


def test_first_attempts_that_fail_beside_successes_pause_nothing(make: MakeBench) -> None:
    flaky = 'case "$PARALLELIZE_ATTEMPT" in 1) case "$1" in *bad*) exit 1;; esac;; esac'
    bench = make(flaky, limits=Limits(max_attempts=3), config=QUICK)
    bench.add({"good": b"", **{f"bad{n}": b"" for n in range(30)}})
    assert bench.run().reason == "every job has its result"


def test_a_resumed_run_is_not_paused_again_for_attempts_of_before(make: MakeBench) -> None:
    bench = make(TRY, limits=Limits(max_attempts=3), config=QUICK)
    bench.add({f"bad{n}": b"" for n in range(100)})
    bench.run()
    before = sum(len(bench.attempts(f"bad{n}")) for n in range(100))
    assert resume(bench.store, bench.layout)
    assert "files have all failed" in bench.run("w2").reason
    after = sum(len(bench.attempts(f"bad{n}")) for n in range(100))
    # It was let try another twenty before it was halted again.
    assert after - before >= 20


def test_a_resumed_run_is_not_paused_again_for_what_was_forgiven(make: MakeBench) -> None:
    bench = make(FAIL, limits=Limits(halt="3"), config=QUICK)
    bench.add({f"bad{n}": b"" for n in range(3)})
    bench.run()
    pause(bench.store, bench.layout, "3 of 3 files have failed")
    assert resume(bench.store, bench.layout)
    bench.add({"bad again": b"", **{f"good{n}": b"" for n in range(10)}})
    assert bench.run("w2").reason == "every job has its result"


def test_the_end_of_a_run_is_no_time_to_halt_it(make: MakeBench) -> None:
    bench = make(FAIL, limits=Limits(halt="1"), config=QUICK)
    bench.add({"bad": b""})
    assert bench.run().reason == "every job has its result"
    assert bench.read_run().paused == ""
