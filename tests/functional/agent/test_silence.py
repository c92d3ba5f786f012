"""A success that made nothing is doubtful: a run of which nothing else is seen is paused."""

from __future__ import annotations

import pytest
from tests.functional.agent.bench import SWIFT
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.live import at_work

from parallelize_core.pause import resume
from parallelize_core.run import Limits, OutputNaming

QUICK = SWIFT.model_copy(update={"run_refresh_seconds": 0.1})
DOUBTING = Limits(grace_seconds=0.2, halt_if_silent=True)
FILES = {f"f{n:02}": b"" for n in range(60)}
UNNAMED = "sleep 0.3; touch made.txt"
"""A script that writes a file and says nothing of it."""


def test_a_run_whose_first_files_leave_no_output_is_paused_with_the_name_of_what_they_made(
    make: MakeBench,
) -> None:
    bench = make(UNNAMED, limits=DOUBTING, config=QUICK)
    bench.add(FILES)
    reason = bench.run().reason
    assert "files succeeded but produced no output" in reason
    assert "made.txt was left in the scratch folder" in reason
    assert "run.require_output = false" in reason
    assert bench.read_run().paused in reason


@pytest.mark.parametrize(("command", "workers"), [
    (UNNAMED, 4), (UNNAMED, 1), ("sleep 0.3", 4), ("sleep 0.3; echo made.txt is done", 2),
    ("sleep 0.3; mkdir -p a/b; touch a/b/c >&2", 3),
])  # fmt: skip
def test_no_more_than_half_beyond_the_first_twenty_are_taken_for_done_and_no_job_is_lost(
    make: MakeBench, command: str, workers: int
) -> None:
    bench = make(command, limits=DOUBTING, config=QUICK)
    bench.add(FILES)
    with at_work(*(bench.worker(f"w{n}") for n in range(workers))) as together:
        for worker in together:
            worker.join()
    done = {key for key in FILES if bench.has_result(key)}
    assert 20 <= len(done) <= 30
    assert {job.key for job in bench.waiting()} == FILES.keys() - done
    assert all(job.attempt == 1 for job in bench.waiting())


def test_a_run_of_which_outputs_need_not_be_expected_is_not_paused(make: MakeBench) -> None:
    bench = make("true", limits=DOUBTING.model_copy(update={"halt_if_silent": False}), config=QUICK)
    bench.add(FILES)
    assert bench.run().reason == "every job has its result"


def test_one_output_is_enough_for_the_others_to_be_believed(make: MakeBench) -> None:
    some = 'case "$1" in *f03) touch x; echo x;; *) sleep 0.02;; esac'
    bench = make(some, limits=DOUBTING, config=QUICK)
    bench.add(FILES)
    assert bench.run().reason == "every job has its result"


def test_an_output_of_another_worker_is_enough_too(make: MakeBench) -> None:
    bench = make("touch x-$$; echo x-$$", limits=DOUBTING, config=QUICK)
    bench.add({"first": b""})
    bench.run("w1")
    bench.use("true")
    bench.add(FILES)
    assert bench.run("w2").reason == "every job has its result"


def test_failures_among_them_are_no_outputs(make: MakeBench) -> None:
    bench = make('case "$1" in *0) exit 65;; esac; sleep 0.1', limits=DOUBTING, config=QUICK)
    bench.add(FILES)
    assert "files succeeded but produced no output" in bench.run().reason


def test_the_end_of_a_run_is_no_time_to_pause_it(make: MakeBench) -> None:
    bench = make("true", limits=DOUBTING, config=QUICK)
    bench.add(dict(list(FILES.items())[:20]))
    assert bench.run().reason == "every job has its result"
    assert bench.read_run().paused == ""


def test_a_run_that_is_resumed_may_try_as_many_again(make: MakeBench) -> None:
    bench = make(UNNAMED, limits=DOUBTING, config=QUICK)
    bench.add(FILES)
    bench.run()
    before = sum(bench.has_result(key) for key in FILES)
    assert resume(bench.store, bench.layout)
    assert "produced no output" in bench.run("w2").reason
    assert sum(bench.has_result(key) for key in FILES) - before >= 20


def test_what_a_glob_means_is_delivered_although_the_script_printed_nothing(
    make: MakeBench,
) -> None:
    collect = OutputNaming(collect=("*.txt",))
    bench = make('echo made of "$1" > made-$(basename "$1").txt', limits=DOUBTING, naming=collect)
    bench.add({"a/f1": b"", "f2": b""})
    assert bench.run().reason == "every job has its result"
    assert bench.outputs() == {"a/made-f1.txt", "made-f2.txt"}
    assert bench.result("f2").left_behind_count == 0


def test_a_job_of_which_an_output_is_required_says_what_it_left_instead(make: MakeBench) -> None:
    limits = Limits(require_output=True, max_attempts=1)
    bench = make("touch made.txt", limits=limits, naming=OutputNaming(collect=("*.png",)))
    bench.add({"f1": b""})
    bench.run()
    assert bench.result("f1").message == (
        "exit 0, but stdout names no file and nothing matches output.collect "
        "(run.require_output is set); made.txt was left in the scratch folder"
    )
