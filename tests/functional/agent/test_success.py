"""What becomes of a job whose command succeeds."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from tests.functional.agent.bench import HOURLY_USD, SWIFT, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import UNREACHABLE, Faults, FaultyStore
from tests.functional.agent.live import at_work

from parallelize_agent.job.job import Job
from parallelize_core.charges import Rates
from parallelize_core.content_key import content_key
from parallelize_core.result import INLINE_LOG_BYTES
from parallelize_core.segment import read_segment

SET_BY_THE_SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}

COUNT = 'wc -c < "$1" > "$(basename "$1").count"; echo "$(basename "$1").count"'


def test_every_input_has_one_result_and_its_output(make: MakeBench) -> None:
    bench = make(COUNT)
    inputs = {f"folder {n % 3}/{n}.txt": b"x" * n for n in range(12)}
    bench.add(inputs)
    departure = bench.run()
    assert departure.reason == "every job has its result"
    assert departure.error is None
    assert {key: int(bench.output(f"{key}.count")) for key in inputs} == {
        key: len(body) for key, body in inputs.items()
    }
    assert bench.queue.bodies() == []


def test_the_result_tells_what_was_done_where_and_with_what(make: MakeBench) -> None:
    bench = make(f'{COUNT}; echo "a remark" >&2')
    bench.add({"a/b.txt": b"12345"})
    bench.run("worker-7")
    result = bench.result("a/b.txt")
    assert (result.status, result.exit_code, result.attempt) == ("succeeded", 0, 1)
    assert (result.worker, result.hourly_usd) == ("worker-7", HOURLY_USD)
    assert result.stderr_tail == "a remark\n"
    assert result.environment == bench.environment.identity
    assert result.started_at <= result.finished_at
    head = bench.store.head(bench.layout.output.key("a/b.txt.count"))
    (output,) = result.outputs
    assert head
    assert (output.key, output.size, output.etag) == ("a/b.txt.count", 2, head.etag)
    assert output.sha256 == head.metadata["sha256"]


def test_a_worker_that_leaves_has_its_results_in_a_segment_too(make: MakeBench) -> None:
    bench = make(COUNT)
    keys = [f"{number}.txt" for number in range(5)]
    bench.add(dict.fromkeys(keys, b"x"))
    bench.run()
    versions = {info.etag for info in bench.store.list(bench.layout.results.prefix)}
    (place,) = (info.key for info in bench.store.list(bench.layout.segments.prefix))
    filed = {result.key: result for _, result in read_segment(bench.store.get(place), versions)}
    assert filed == {key: bench.result(key).model_copy(update={"log": ""}) for key in keys}


@pytest.mark.parametrize(
    "octal", [r"\303\050", r"\377\376h\000i", r"\355\240\200", r"\033[2J\233"], ids=str
)
def test_bytes_that_are_no_text_spoil_neither_the_result_nor_the_outputs(
    make: MakeBench, octal: str
) -> None:
    bench = make(f"printf '{octal}\\n'; printf '{octal}' >&2; echo made > out.txt; echo out.txt")
    bench.add({"a": b"x"})
    bench.run()
    result = bench.result("a")
    assert (result.status, bench.outputs()) == ("succeeded", {"out.txt"})
    assert "out.txt\n" in result.log
    assert result.stderr_tail


def test_each_line_that_names_a_file_or_a_folder_is_an_output(make: MakeBench) -> None:
    bench = make(
        "mkdir -p deep/er; echo 1 > one; echo 2 > deep/two; echo 3 > deep/er/three; echo 4 > left;"
        'echo "starting"; echo one; echo deep; echo "$PWD/one"; echo ""; echo .'
    )
    bench.add({"d/x": b""})
    bench.run()
    assert bench.outputs() == {"d/one", "d/deep/two", "d/deep/er/three"}
    assert "starting\n" in bench.result("d/x").log


def test_no_output_is_a_success(make: MakeBench) -> None:
    bench = make("echo nothing to say; mkdir empty; echo empty")
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").status == "succeeded"
    assert bench.result("x").outputs == ()


def test_a_file_of_the_environment_is_a_remark_and_no_output(make: MakeBench) -> None:
    bench = make("cat data.txt; echo data.txt; echo job.sh")
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").status == "succeeded"
    assert bench.outputs() == set()


def test_the_command_is_told_about_its_job_and_nothing_about_the_agent(make: MakeBench) -> None:
    bench = make('env > vars; echo "INPUT=$1" >> vars; echo vars')
    bench.add({"a/é x.txt": b""})
    bench.run()
    lines = bench.output("a/vars").decode().splitlines()
    told = dict(line.split("=", 1) for line in lines)
    assert told["PARALLELIZE_RUN"] == "r"
    assert told["PARALLELIZE_INPUT_KEY"] == "a/é x.txt"
    assert told["PARALLELIZE_ATTEMPT"] == "1"
    assert told["PARALLELIZE_SLOTS"] == "2"
    assert told["INPUT"] == told["PARALLELIZE_INPUT"]
    assert told["INPUT"].endswith("/é x.txt")
    assert told["TMPDIR"].startswith(told["PARALLELIZE_SCRATCH"])
    assert told["PWD"] == told["PARALLELIZE_SCRATCH"]
    assert not [name for name in told if name.startswith("AWS_")]
    page = (Path(__file__).parents[3] / "docs/command.md").read_text()
    untold = {name for name in told if f"`{name}`" not in page}
    assert untold <= {"INPUT", *SET_BY_THE_SHELL}


def test_jobs_at_the_same_time_have_different_slots_and_folders(
    make: MakeBench, gate: Gate
) -> None:
    name = '"$(basename "$1").slot"'
    bench = make(f'echo "$PARALLELIZE_SLOT" > {name}; {gate.wait}; ls; echo {name}')
    bench.add({"a": b"", "b": b""})
    with at_work(bench.worker()) as (worker,):
        until(lambda: gate.arrived() == {"a", "b"})
        gate.open()
        worker.join()
    assert {bench.output("a.slot"), bench.output("b.slot")} == {b"0\n", b"1\n"}
    assert "b.slot" not in bench.result("a").log


def test_a_small_log_travels_in_the_result(make: MakeBench) -> None:
    bench = make("echo out; echo err >&2")
    bench.add({"x": b""})
    bench.run()
    result = bench.result("x")
    assert sorted(result.log.splitlines()) == ["err", "out"]
    assert result.log_key is None


def test_a_larger_log_is_an_object_of_its_own(make: MakeBench) -> None:
    size = INLINE_LOG_BYTES + 1
    bench = make(f"head -c {size} /dev/zero | tr '\\0' x >&2")
    bench.add({"x": b""})
    bench.run()
    result = bench.result("x")
    assert result.log == ""
    record = bench.layout.attempt("x", 1, "w1", result.started_at)
    assert result.log_key == record.removesuffix("json") + "log"
    assert bench.store.get(result.log_key) == b"x" * size


def test_scratch_folders_are_removed_whatever_became_of_their_permissions(make: MakeBench) -> None:
    bench = make("mkdir -p a/b; touch a/b/c; chmod 000 a/b; chmod 500 a .")
    bench.add({"x": b"", "y": b""})
    bench.run()
    assert bench.result("x").status == "succeeded"
    jobs = bench.folder / "w1" / "jobs"
    assert [path for path in jobs.rglob("*") if path.parent != jobs] == []


def test_the_last_heartbeat_says_that_the_worker_has_left_and_what_it_did(make: MakeBench) -> None:
    bench = make('test "$(basename "$1")" != bad')
    bench.add({"good": b"", "bad": b""})
    bench.run()
    beat = bench.heartbeat()
    assert (beat.state, beat.done, beat.failed) == ("left", 1, 1)
    assert beat.last_failure == "bad: exit 1"
    assert beat.reason == "every job has its result"


def test_the_last_heartbeat_says_what_the_worker_has_cost_beside_its_machine(
    make: MakeBench,
) -> None:
    rates = Rates(address_hour=3600.0, disk_hour=3600.0)
    bench = make("echo done >out; echo out", config=SWIFT.model_copy(update={"rates": rates}))
    bench.add({"x": b""})
    bench.run()
    beat = bench.heartbeat()
    assert beat.charges
    assert beat.charges.disk_usd == pytest.approx(beat.seen - beat.started)
    # The machine of the tests has no public address.
    assert beat.charges.address_usd == 0


def test_a_worker_that_knows_no_rates_tells_of_no_charges(make: MakeBench) -> None:
    bench = make("echo done >out; echo out")
    bench.add({"x": b""})
    bench.run()
    assert bench.heartbeat().charges is None


def test_the_last_heartbeat_is_written_although_the_store_refuses_it_at_first(
    make: MakeBench,
) -> None:
    bench = make("true")
    bench.add({"x": b""})
    refusals = 0

    def refuse_twice(call: str) -> None:
        nonlocal refusals
        last = call == f"put {bench.layout.heartbeat('w1')}" and worker.describe().state == "left"
        if last and refusals < 2:
            refusals += 1
            raise UNREACHABLE

    worker = bench.worker(store=FaultyStore(bench.store, Faults(refuse_twice)))
    worker.run()
    assert refusals == 2
    assert bench.heartbeat().state == "left"


def test_two_workers_share_the_work_and_each_input_has_one_result(make: MakeBench) -> None:
    bench = make(COUNT)
    inputs = {f"{n}": b"x" for n in range(30)}
    bench.add(inputs)
    with at_work(bench.worker("w1"), bench.worker("w2")) as workers:
        until(lambda: all(bench.has_result(key) for key in inputs))
        for worker in workers:
            worker.join()
    assert bench.outputs() == {f"{key}.count" for key in inputs}
    assert bench.heartbeat("w1").done + bench.heartbeat("w2").done == len(inputs)


def test_the_result_says_what_was_executed_by_a_key_that_a_client_can_compute(
    make: MakeBench,
) -> None:
    bench = make(COUNT)
    bench.add({"a/b.txt": b"12345"})
    run = bench.read_run().model_copy(update={"recipe": "a recipe"})
    bench.store.put(bench.layout.run_json, run.encode())
    bench.run()
    result = bench.result("a/b.txt")
    key = content_key(run, bench.message("a/b.txt"))
    assert key
    assert (result.recipe, result.content) == ("a recipe", key)


def test_without_a_recipe_it_says_nothing_of_that(make: MakeBench) -> None:
    bench = make(COUNT)
    bench.add({"a/b.txt": b"12345"})
    bench.run()
    assert (bench.result("a/b.txt").recipe, bench.result("a/b.txt").content) == ("", "")


def test_a_job_that_began_before_a_change_tells_of_what_it_began_with(make: MakeBench) -> None:
    bench = make(COUNT, config=SWIFT.model_copy(update={"run_refresh_seconds": 0}))
    gate = Gate(bench.folder)
    bench.use(f"{gate.wait}; {COUNT}")
    bench.add({"a.txt": b"12345"})
    run = bench.read_run().model_copy(update={"recipe": "old"})
    bench.store.put(bench.layout.run_json, run.encode())
    with at_work(bench.worker()):
        until(lambda: "a.txt" in gate.arrived() or None)
        newer = run.model_copy(update={"recipe": "new"})
        bench.store.put(bench.layout.run_json, newer.encode())
        bench.add({"b.txt": b"12345"})
        until(lambda: "b.txt" in gate.arrived() or None)
        gate.open()
        until(lambda: (bench.has_result("a.txt") and bench.has_result("b.txt")) or None)
    assert (bench.result("a.txt").recipe, bench.result("b.txt").recipe) == ("old", "new")


def test_a_job_that_is_done_leaves_nothing_to_the_collector(make: MakeBench) -> None:
    """It stops the worker for longer than anything else, so it must have nothing to look for."""
    bench = make(COUNT)
    bench.add({f"{n}": b"" for n in range(10)})
    gc.collect()
    gc.disable()
    try:
        bench.run()
        left = [one for one in gc.get_objects() if isinstance(one, Job)]
    finally:
        gc.enable()
    assert left == []
