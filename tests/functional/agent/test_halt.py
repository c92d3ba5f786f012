"""The circuit breaker: a run of which too much fails is paused by its agents."""

from __future__ import annotations

from tests.functional.agent.bench import SWIFT, at_work
from tests.functional.agent.conftest import MakeBench

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
