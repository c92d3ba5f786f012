"""What becomes of a job whose command, input or output is bad: recorded, retried, charged."""

from __future__ import annotations

import pytest
from tests.functional.agent.bench import Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.live import at_work

from parallelize_core.dead_letter import DeadLetter
from parallelize_core.job import JobMessage
from parallelize_core.result import Cause
from parallelize_core.run import Limits


def test_a_failure_is_tried_again_and_every_attempt_leaves_a_record(make: MakeBench) -> None:
    bench = make('echo "try $PARALLELIZE_ATTEMPT" >&2; test "$PARALLELIZE_ATTEMPT" = 3 || exit 9')
    bench.add({"x": b""})
    bench.run()
    result = bench.result("x")
    assert (result.status, result.attempt) == ("succeeded", 3)
    records = bench.attempts("x")
    assert [(r.attempt, r.cause, r.exit_code) for r in records] == [
        (1, Cause.COMMAND, 9),
        (2, Cause.COMMAND, 9),
    ]
    assert [record.log for record in records] == ["try 1\n", "try 2\n"]


def test_a_job_that_is_retried_on_the_same_worker_keeps_the_records_of_before(
    make: MakeBench,
) -> None:
    bench = make("exit 9", limits=Limits(max_attempts=2))
    bench.add({"x": b""})
    for _ in range(2):
        bench.run()
        bench.store.delete([bench.layout.result("x")])
        bench.queue.send([JobMessage(run="r", key="x", size=0).encode()])
    assert [record.attempt for record in bench.attempts("x")] == [1, 1]


def test_after_the_last_attempt_the_result_says_why_and_the_message_is_kept(
    make: MakeBench,
) -> None:
    bench = make('echo "ValueError: bad header" >&2; exit 1', limits=Limits(max_attempts=2))
    bench.add({"x": b"abc"})
    bench.run()
    result = bench.result("x")
    assert (result.status, result.attempt, result.exit_code) == ("failed", 2, 1)
    assert bench.heartbeat().failed == 1
    assert result.cause is Cause.COMMAND
    assert result.stderr_tail == "ValueError: bad header\n"
    assert bench.store.head(bench.layout.failure("x"))
    (letter,) = map(DeadLetter.decode, bench.dead.bodies())
    assert (letter.reason, letter.worker) == ("exit 1", "w1")
    assert JobMessage.decode(letter.body).key == "x"
    assert bench.queue.bodies() == []


def test_a_failed_job_leaves_no_output(make: MakeBench) -> None:
    bench = make("echo part > out; echo out; exit 1")
    bench.add({"x": b""})
    bench.run()
    assert bench.outputs() == set()


def test_exit_65_fails_at_once(make: MakeBench) -> None:
    bench = make("exit 65")
    bench.add({"x": b""})
    bench.run()
    assert (bench.result("x").attempt, bench.result("x").exit_code) == (1, 65)
    assert bench.attempts("x") == []


def test_exit_75_is_tried_again_and_never_charged(make: MakeBench, gate: Gate) -> None:
    tries = gate.folder / "tries"
    bench = make(
        f'echo >> "{tries}"; test "$(wc -l < "{tries}")" -ge 5 || exit 75; '
        'test "$PARALLELIZE_ATTEMPT" = 1',
        limits=Limits(max_attempts=1),
    )
    bench.add({"x": b""})
    bench.run()
    assert (bench.result("x").status, bench.result("x").attempt) == ("succeeded", 1)


def test_a_worker_is_not_blamed_for_commands_that_ask_for_another_try(
    make: MakeBench, gate: Gate
) -> None:
    tries = gate.folder / "tries"
    bench = make(f'echo >> "{tries}"; test "$(wc -l < "{tries}")" -ge 40 || exit 75')
    assert bench.config.max_unfit < 12
    bench.add({f"{number}": b"" for number in range(12)})
    assert bench.run().error is None
    assert {bench.result(f"{number}").status for number in range(12)} == {"succeeded"}


def test_a_command_killed_by_a_signal_failed(make: MakeBench) -> None:
    bench = make("kill -SEGV $$", limits=Limits(max_attempts=1))
    bench.add({"x": b""})
    bench.run()
    assert (bench.result("x").cause, bench.result("x").exit_code) == (Cause.COMMAND, -11)
    assert bench.result("x").message == "signal 11"


def test_a_kill_from_nobody_knows_where_is_the_commands_own_failure(make: MakeBench) -> None:
    bench = make("kill -KILL $$", limits=Limits(max_attempts=1))
    bench.add({"x": b""})
    bench.run()
    assert (bench.result("x").cause, bench.result("x").exit_code) == (Cause.COMMAND, -9)


def test_a_crash_without_output_is_no_success(make: MakeBench) -> None:
    bench = make("exit 3", limits=Limits(max_attempts=1))
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").status == "failed"


def test_a_required_output_that_is_missing_is_a_failure(make: MakeBench) -> None:
    bench = make("echo no file", limits=Limits(require_output=True, max_attempts=1))
    bench.add({"x": b""})
    bench.run()
    result = bench.result("x")
    assert (result.status, result.cause, result.exit_code) == ("failed", Cause.OUTPUT, 0)
    assert "no file" in result.message
    assert "no file" in result.log


def test_a_program_that_cannot_be_started_fails_at_once_and_says_why(make: MakeBench) -> None:
    bench = make("")
    bench.use("\n#")
    run = bench.read_run().model_copy(update={"command": ("no-such-program",)})
    bench.store.put(bench.layout.run_json, run.encode())
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").cause is Cause.COMMAND
    assert (
        "no-such-program cannot be started: it, or the program in its #! line, was not found"
        in bench.result("x").message
    )
    assert bench.attempts("x") == []


def test_an_input_that_is_gone_or_has_changed_is_a_bad_input(make: MakeBench) -> None:
    bench = make("true", limits=Limits(max_attempts=1))
    bench.add({"gone": b"1", "changed": b"2", "good": b"3"})
    bench.store.delete([bench.layout.input.key("gone")])
    bench.store.put(bench.layout.input.key("changed"), b"4")
    bench.run()
    assert bench.result("gone").cause is Cause.INPUT
    assert bench.result("changed").cause is Cause.INPUT
    assert bench.result("good").status == "succeeded"


PASSWD = "/etc/passwd"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"echo {PASSWD}", "outside"),
        ("echo ../../../../../../../../../../../../etc/passwd", "outside"),
        (f"ln -s {PASSWD} link; echo link", "outside"),
        (f"mkdir d; ln -s {PASSWD} d/link; echo d", "outside"),
        ("mkdir d; ln -s /etc d/etc; echo d", "outside"),
        ("ln -s /etc etc; echo etc/passwd", "outside"),
        ("ln -s / root; echo root", "outside"),
        ("mkdir d; ln -s nowhere d/link; echo d", "is a broken link"),
        ("mkfifo pipe; echo pipe", "not a regular file"),
        ("mkdir d; mkfifo d/pipe; echo d", "not a regular file"),
        ("mkdir d; touch d/$(printf '\\001'); echo d", "cannot be stored"),
        ("echo ..", "outside"),
    ],
)
def test_a_path_that_is_no_output_fails_the_job_and_nothing_is_sent(
    make: MakeBench, script: str, said: str
) -> None:
    bench = make(f"echo fine > a; echo a; {script}", limits=Limits(max_attempts=1))
    bench.add({"x": b""})
    bench.run()
    result = bench.result("x")
    assert (result.status, result.cause) == ("failed", Cause.OUTPUT)
    assert said in result.message
    assert bench.outputs() == set()


def test_a_link_to_a_file_inside_is_delivered_under_the_name_that_was_printed(
    make: MakeBench,
) -> None:
    bench = make("echo 1 > real; ln -s real link; mkdir d; ln -s ../real d/link; echo link; echo d")
    bench.add({"x": b""})
    bench.run()
    assert {name: bench.output(name) for name in bench.outputs()} == {
        "link": b"1\n",
        "d/link": b"1\n",
    }


def test_a_folder_that_contains_itself_through_a_link_ends(make: MakeBench) -> None:
    bench = make("mkdir d; ln -s . d/loop; echo d", limits=Limits(max_attempts=1))
    bench.add({"x": b""})
    bench.run()
    assert bench.result("x").cause is Cause.OUTPUT


def test_a_message_that_is_no_job_is_kept_with_the_reason_and_the_work_goes_on(
    make: MakeBench,
) -> None:
    bench = make("true")
    bodies = ["", "{", "[]", '{"run": "r"}', '{"v": 1, "run": "r", "key": "../x", "size": 1}']
    bench.queue.send(bodies)
    bench.add({"x": b""})
    bench.run()
    letters = [DeadLetter.decode(body) for body in bench.dead.bodies()]
    assert sorted(letter.body for letter in letters) == sorted(bodies)
    assert all("not a job" in letter.reason for letter in letters)
    assert bench.queue.bodies() == []
    assert bench.result("x").status == "succeeded"


def test_a_message_of_another_run_is_no_job_of_this_one(make: MakeBench) -> None:
    bench = make("true")
    bench.add({"x": b""}, send=False)
    foreign = bench.message("x").model_copy(update={"run": "another"})
    bench.queue.send([foreign.encode(), bench.message("x").encode()])
    bench.run()
    (letter,) = map(DeadLetter.decode, bench.dead.bodies())
    assert "another" in letter.reason


def test_a_job_that_takes_its_workers_down_is_not_tried_for_ever(make: MakeBench) -> None:
    bench = make("true")
    bench.add({"x": b""})
    for _ in range(bench.config.max_receives):
        bench.queue.receive(1, 0, 1)
        bench.clock.ahead += 2
    bench.run()
    assert bench.result("x").status == "failed"
    assert "died" in bench.result("x").message


@pytest.mark.parametrize("sent", ["again", "next attempt"])
def test_a_job_that_is_finished_is_acknowledged_and_not_run(
    make: MakeBench, gate: Gate, sent: str
) -> None:
    bench = make(gate.wait)
    gate.open()
    bench.add({"x": b""})
    bench.run("w1")
    arrived = gate.folder / "arrived" / "x"
    arrived.unlink()
    before = bench.store.get(bench.layout.result("x"))
    message = bench.message("x")
    later = message.parked() if sent == "again" else message.next_attempt()
    bench.queue.send([later.encode()] * 3)
    bench.run("w2")
    assert not arrived.exists()
    assert bench.queue.bodies() == []
    assert bench.store.get(bench.layout.result("x")) == before


@pytest.mark.parametrize("script", ["echo $$ > out; echo out", "exit 65"])
def test_a_first_message_of_a_finished_job_changes_nothing(make: MakeBench, script: str) -> None:
    # Nobody looks for a result before a first receive: the result's condition finds out.
    bench = make("echo $$ > out; echo out")
    bench.add({"x": b""})
    bench.run("w1")
    before = bench.store.get(bench.layout.result("x")), bench.output("out")
    bench.queue.send([bench.message("x").encode()])
    bench.use(script)
    bench.run("w2")
    assert bench.queue.bodies() == []
    assert (bench.store.get(bench.layout.result("x")), bench.output("out")) == before


def test_an_environment_that_was_mended_serves_the_next_attempt(
    make: MakeBench, gate: Gate
) -> None:
    bench = make("exit 75")
    bench.add({"x": b""})
    with at_work(bench.worker()) as (worker,):
        until(lambda: worker.worker.describe().handed_back)
        bench.use("cp data.txt out; echo out")
        worker.join()
    assert bench.output("out") == b"data\n"


@pytest.mark.parametrize("printed", ["echo out", "seq 100000"], ids=["little", "much"])
def test_a_command_that_deletes_what_is_not_its_own_is_charged_and_ends(
    make: MakeBench, printed: str
) -> None:
    # As root of its own files, as everywhere but in the image, it reaches what lies beside.
    bench = make(f"{printed}; rm -rf ../*; exit 0", limits=Limits(max_attempts=2))
    bench.add({"x": b"", "y": b""})
    departure = bench.run()
    assert departure.error is None
    result = bench.result("x")
    assert (result.status, result.cause, result.attempt) == ("failed", Cause.OUTPUT, 2)
    assert "the command has deleted" in result.message
