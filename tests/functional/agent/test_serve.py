"""Warm commands: one process for many jobs, and everything else as for any job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tests.functional.agent.bench import Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.live import at_work

from parallelize_core.result import Cause
from parallelize_core.run import Limits, Serve

MakeServing = Callable[..., Bench]

HEAD = "import json, os, pathlib, signal, subprocess, sys, time\nimport parallelize\n"
COPY = """
name = job["key"] + ".out"
open(name, "w").write(open(job["input"]).read() + f" {os.getpid()}")
return name
"""


@pytest.fixture
def serving(make: MakeBench) -> MakeServing:
    """Make a bench from the body of a job's function in Python."""

    def made(body: str, *, before: str = "", **changes: object) -> Bench:
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        program = f"{HEAD}{before}\ndef do(job):\n{lines}\nparallelize.serve(do)\n"
        return by_program(make, program, **changes)

    return made


def by_program(make: MakeBench, program: str, **changes: object) -> Bench:
    settings = {"serve": Serve(), "version": 2, "files": {"serve.py": program}, **changes}
    return make("exec python3 ./serve.py", **settings)


def keys(count: int) -> list[str]:
    return [f"f{number:02}" for number in range(count)]


def add(bench: Bench, names: Iterable[str]) -> None:
    bench.add({name: name.encode() for name in names})


def one_slot(bench: Bench) -> Bench:
    bench.config = bench.config.model_copy(update={"slots": 1})
    return bench


def processes(bench: Bench, names: Iterable[str]) -> list[str]:
    return [bench.output(f"{name}.out").split()[1].decode() for name in names]


def test_one_process_for_each_slot_does_all_jobs_each_with_its_own_input(
    serving: MakeServing,
) -> None:
    bench = serving(COPY)
    add(bench, keys(20))
    bench.run()
    said = [bench.output(f"{key}.out").split()[0].decode() for key in keys(20)]
    assert said == keys(20)
    assert len({*processes(bench, keys(20))}) <= bench.config.slots


def test_each_job_has_a_fresh_folder_with_the_environment_s_entries(serving: MakeServing) -> None:
    bench = one_slot(serving(
        'print(*sorted(os.listdir(".")), file=sys.stderr); open("left", "w"); open("o", "w")\n'
        'os.rename("o", job["key"]); return job["key"]'
    ))  # fmt: skip
    add(bench, keys(3))
    bench.run()
    for key in keys(3):
        lines = bench.result(key).log.splitlines()
        assert sorted(lines) == [".parallelize data.txt job.sh serve.py", key]
    assert bench.outputs() == {*keys(3)}


def test_the_log_of_a_job_is_what_was_printed_while_it_was_done(serving: MakeServing) -> None:
    bench = one_slot(serving('print("of", job["key"]); print("err", job["key"], file=sys.stderr)'))
    add(bench, keys(5))
    bench.run()
    for key in keys(5):
        assert sorted(bench.result(key).log.splitlines()) == [f"err {key}", f"of {key}"]


def test_what_fails_in_one_job_fails_no_other_and_ends_no_process(serving: MakeServing) -> None:
    bench = one_slot(serving(
        f'if job["key"] == "f01": raise ValueError("bad header")\n'
        f'if job["key"] == "f02": sys.exit(65)\n{COPY}'
    ))  # fmt: skip
    add(bench, keys(5))
    bench.run()
    assert bench.result("f01").stderr_tail.rstrip().endswith("ValueError: bad header")
    assert (bench.result("f01").exit_code, bench.result("f01").attempt) == (1, 3)
    assert (bench.result("f02").exit_code, bench.result("f02").attempt) == (65, 1)
    assert len({*processes(bench, ("f00", "f03", "f04"))}) == 1


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("os.kill(os.getpid(), 9)", "signal 9"),
        ("os._exit(7)", "exit 7"),
        ("os._exit(0)", "no answer"),
        ("os.close(1); os.close(0); os._exit(0)", "no answer"),
        ('os.write(1, b\'{"job": 0, "done": true}\\n\'); time.sleep(60)', "no answer"),
    ],
)
def test_a_process_that_ends_or_answers_for_another_costs_the_job_in_hand_an_attempt(
    serving: MakeServing, end: str, message: str
) -> None:
    bench = one_slot(serving(f'if job["key"] == "f02" and job["attempt"] == 1: {end}\n{COPY}'))
    add(bench, keys(6))
    bench.run()
    assert all(bench.result(key).status == "succeeded" for key in keys(6))
    assert [bench.result(key).attempt for key in keys(6)] == [1, 1, 2, 1, 1, 1]
    assert message in bench.attempts("f02")[0].message
    assert len({*processes(bench, keys(6))}) == 2


def test_a_process_that_is_killed_is_replaced_and_the_other_slot_keeps_its_own(
    serving: MakeServing,
) -> None:
    kill = 'if job["key"] == "f02" and job["attempt"] == 1: os.kill(os.getpid(), 9)'
    bench = serving(f"{kill}\n{COPY}")
    add(bench, keys(20))
    bench.run()
    assert [bench.result(key).attempt for key in keys(20)] == [1, 1, 2, *[1] * 17]
    assert len({*processes(bench, keys(20))}) <= bench.config.slots + 1


def test_an_answer_that_comes_twice_is_nobody_else_s(make: MakeBench) -> None:
    bench = one_slot(by_program(make, """
import json, os, sys
for line in sys.stdin:
    job = json.loads(line)
    os.chdir(job["scratch"])
    if job["key"] != "lazy":
        open(job["key"], "w").write("x")
        print(job["key"])
    for _ in range(2):
        print(json.dumps({"job": job["job"], "done": True}), flush=True)
"""))  # fmt: skip
    add(bench, keys(8))
    bench.run()
    assert bench.outputs() == {*keys(8)}
    assert {bench.result(key).status for key in keys(8)} == {"succeeded"}


def test_a_job_that_takes_too_long_ends_its_process_and_the_others_go_on(
    serving: MakeServing,
) -> None:
    bench = one_slot(serving(
        f'if job["key"] == "f01": time.sleep(60)\n{COPY}',
        limits=Limits(timeout_seconds=1, grace_seconds=0.1, max_attempts=1),
    ))  # fmt: skip
    add(bench, keys(3))
    bench.run()
    assert bench.result("f01").cause is Cause.TIMEOUT
    assert bench.result("f00").status == bench.result("f02").status == "succeeded"


def test_the_time_of_the_first_job_does_not_run_before_the_process_is_ready(
    serving: MakeServing,
) -> None:
    limits = Limits(timeout_seconds=2, grace_seconds=0.1, max_attempts=1)
    bench = one_slot(serving(COPY, before="time.sleep(2.5)", limits=limits))
    add(bench, keys(2))
    bench.run()
    assert {bench.result(key).status for key in keys(2)} == {"succeeded"}
    assert all(bench.result(key).usage.seconds < 2 for key in keys(2))


def test_a_job_that_takes_too_much_memory_ends_its_process(serving: MakeServing) -> None:
    bench = one_slot(serving(
        f'if job["key"] == "f01": held = bytearray(300_000_000); time.sleep(60)\n{COPY}',
        limits=Limits(memory_bytes=200_000_000, grace_seconds=0.1, max_attempts=1),
    ))  # fmt: skip
    add(bench, keys(3))
    bench.run()
    assert bench.result("f01").cause is Cause.MEMORY
    assert bench.result("f02").status == "succeeded"


def test_a_job_that_ran_out_of_memory_gets_a_process_that_may_take_all_and_the_others_end(
    serving: MakeServing, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    note = f'open({str(pids)!r}, "a").write(f"{{os.getpid()}} ")'
    large = f"""
if job["key"] == "f01":
    held = bytearray(300_000_000)
    started = open({str(pids)!r}).read().split()
    stopped = [pid for pid in started if os.path.exists(f"/proc/{{pid}}/exe")]
    print(len(stopped), file=sys.stderr)
    time.sleep(1.5)
"""
    bench = serving(large + COPY, before=note,
                    limits=Limits(memory_bytes=200_000_000, grace_seconds=0.1))  # fmt: skip
    add(bench, keys(6))
    bench.run()
    assert {bench.result(key).status for key in keys(6)} == {"succeeded"}
    assert bench.result("f01").attempt == 2
    assert bench.result("f01").stderr_tail == "1\n", "only its own process lives"


def test_a_process_is_renewed_after_so_many_jobs(serving: MakeServing) -> None:
    bench = one_slot(serving(COPY, serve=Serve(jobs=4)))
    add(bench, keys(12))
    bench.run()
    found = processes(bench, keys(12))
    assert [found.count(process) for process in dict.fromkeys(found)] == [4, 4, 4]


def test_a_process_is_renewed_after_it_has_grown_so_much(serving: MakeServing) -> None:
    grow = f"held.append(os.urandom(20_000_000))\n{COPY}"
    bench = one_slot(serving(grow, before="held = []", serve=Serve(growth_bytes=50_000_000)))
    add(bench, keys(8))
    bench.run()
    found = processes(bench, keys(8))
    # The first job is the measure; the third after it is too much.
    assert sorted(found.count(process) for process in {*found}) == [4, 4]


def test_nothing_of_a_process_is_left_when_the_worker_has_gone(
    serving: MakeServing, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    start = f"""
daemon = subprocess.Popen(["sleep", "600"], start_new_session=True)
open({str(pids)!r}, "a").write(f"{{os.getpid()}} {{daemon.pid}} ")
"""
    bench = serving(COPY, before=start)
    add(bench, keys(6))
    bench.run()
    started = pids.read_text().split()
    until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in started))
    assert not [*(bench.folder / "w1/jobs").glob("*/*")]


def test_a_worker_that_has_to_leave_hands_the_job_in_hand_back(
    serving: MakeServing, gate: Gate
) -> None:
    wait = f"subprocess.run({['/bin/sh', '-c', gate.wait]!r}, check=True)\n{COPY}"
    bench = one_slot(serving(wait))
    add(bench, ["f00"])
    with at_work(bench.worker()) as (worker,):
        until(lambda: gate.arrived)
        worker.leave()
    assert not bench.has_result("f00")
    assert [message.attempt for message in bench.waiting()] == [1]
    gate.open()
    bench.run("w2")
    assert bench.result("f00").status == "succeeded"


def test_a_job_of_several_files_and_variables_is_told_with_all_of_them(
    serving: MakeServing,
) -> None:
    told = 'open("told", "w").write(json.dumps(job)); return "told"'
    bench = serving(told, columns=("lr",))
    bench.add_job("pair", {"a/x": b"1", "a/y": b"2"}, {"lr": "0.1"})
    bench.run()
    (name,) = bench.outputs()
    said = json.loads(bench.output(name))
    assert [Path(path).name for path in said["files"]] == ["x", "y"]
    assert said["input"] == said["files"][0]
    assert (said["vars"], said["key"], said["attempt"]) == ({"lr": "0.1"}, "pair", 1)


def test_a_command_that_cannot_be_started_fails_its_job_with_the_reason(make: MakeBench) -> None:
    bench = make("true", serve=Serve(), version=2, files={"bad": "#!/no/such/interpreter\n"})
    run = bench.read_run().model_copy(update={"command": ("./bad",)})
    bench.store.put(bench.layout.run_json, run.encode())
    add(bench, ["f00"])
    bench.run()
    assert "./bad cannot be started" in bench.result("f00").message
