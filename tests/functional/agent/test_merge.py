"""The merge: one last job over all results, put on the queue by whichever worker sees the last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from tests.functional.agent.bench import AS_PRINTED, GENTLE, SWIFT, Bench, Gate, until
from tests.functional.agent.faults import Faults, FaultyQueue, FaultyStore
from tests.functional.agent.live import at_work

from parallelize_core.config import AgentConfig
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry
from parallelize_core.merge import MERGE, MergeRecord
from parallelize_core.result import Cause
from parallelize_core.run import OutputNaming, Serve, Then

WRITE = 'tr a-z A-Z < "$1" > "$(basename "$1").out"; echo "$(basename "$1").out"'

MERGE_SH = """#!/usr/bin/env python3
import json, os, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
with open("all.json", "w") as file:
    json.dump([[l["job"], l["name"], open(l["path"]).read(), l["variables"]] for l in lines], file)
print("all.json")
"""

SERVE = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"job": json.loads(line)["job"], "done": True}), flush=True)
"""

FILES = {"merge.py": MERGE_SH}
THEN = Then(command=("./merge.py",))
ONE_SLOT = SWIFT.model_copy(update={"slots": 1})


def bench_of(
    folder: Path,
    script: str = WRITE,
    then: Then = THEN,
    files: Mapping[str, str] = FILES,
    config: AgentConfig = SWIFT,
    serve: Serve | None = None,
    naming: OutputNaming = AS_PRINTED,
) -> Bench:
    return Bench(
        folder, script, files=dict(files), then=then, version=2, config=config, serve=serve,
        naming=naming,
    )  # fmt: skip


def merged(bench: Bench) -> list[list[object]]:
    found: list[list[object]] = json.loads(bench.output("all.json"))
    return found


def merges(bench: Bench) -> int:
    """How many executions of the merge have left a record."""
    return len(bench.attempts(MERGE)) + bench.has_result(MERGE)


def test_the_merge_is_given_all_outputs_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.add({"b": b"two", "a": b"one"})
    assert bench.run().reason == "every job has its result"
    assert merged(bench) == [["b", "b.out", "TWO", {}], ["a", "a.out", "ONE", {}]]


def test_each_line_of_its_list_has_the_outputs_checksum(tmp_path: Path) -> None:
    bench = bench_of(
        tmp_path, files={"merge.py": '#!/bin/sh\ncp "$1" list.jsonl; echo list.jsonl\n'}
    )
    bench.add({"a": b"one"})
    bench.run()
    (output,) = bench.result("a").outputs
    line = json.loads(bench.output("list.jsonl"))
    assert (line["sha256"], line["etag"], line["size"]) == (output.sha256, output.etag, output.size)
    assert line["uri"] == f"s3://bucket/{bench.layout.output.key('a.out')}"


def test_the_variables_of_jobs_are_in_its_list(tmp_path: Path) -> None:
    bench = bench_of(
        tmp_path, 'echo "$PARALLELIZE_VAR_LR" > "$PARALLELIZE_VAR_LR"; echo "$PARALLELIZE_VAR_LR"'
    )
    bench.columns = ("lr",)
    bench.write_run()
    entry = Entry(key="lr=0.1", size=0, etag="", files=(), variables={"lr": "0.1"})
    bench.add_entries([entry])
    bench.run()
    assert merged(bench) == [["lr=0.1", "lr=0.1/0.1", "0.1\n", {"lr": "0.1"}]]


def test_it_begins_only_when_the_last_result_is_there(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    bench = bench_of(tmp_path, f'case "$1" in */late) {gate.wait};; esac; {WRITE}')
    bench.add({"early": b"", "late": b""})
    with at_work(bench.worker("w1"), bench.worker("w2")) as workers:
        until(lambda: bench.has_result("early") and gate.arrived())
        assert bench.store.head(bench.layout.merge) is None
        gate.open()
        for worker in workers:
            worker.join()
    assert len(merged(bench)) == 2
    assert merges(bench) == 1


def test_of_many_workers_that_see_the_last_result_one_puts_it_on_the_queue(tmp_path: Path) -> None:
    faults = Faults()
    bench = bench_of(tmp_path, config=ONE_SLOT)
    bench.add({str(number): b"" for number in range(20)})
    queue = FaultyQueue(bench.queue, faults)
    with at_work(*(bench.worker(f"w{n}", queue=queue) for n in range(4))) as workers:
        for worker in workers:
            worker.join()
    assert len(merged(bench)) == 20
    assert merges(bench) == 1


def test_no_call_that_blocks_is_made_on_the_event_loop(tmp_path: Path) -> None:
    on_loop: list[str] = []

    def note(call: str) -> None:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            on_loop.append(call)

    bench = bench_of(tmp_path)
    bench.add({"a": b"one"})
    bench.worker("w1", store=FaultyStore(bench.store, Faults(hook=note))).run()
    assert bench.has_result(MERGE)
    assert on_loop == []


def test_it_waits_for_jobs_that_have_failed(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, f'case "$1" in */bad) exit 65;; esac; {WRITE}')
    bench.add({"good": b"", "bad": b""})
    assert bench.run().reason == "every job has its result"
    assert not bench.has_result(MERGE)
    assert bench.store.head(bench.layout.merge) is None


def test_with_partial_it_is_over_the_results_of_those_that_have_succeeded(tmp_path: Path) -> None:
    then = THEN.model_copy(update={"partial": True})
    bench = bench_of(tmp_path, f'case "$1" in */bad) exit 65;; esac; {WRITE}', then)
    bench.add({"good": b"", "bad": b""})
    bench.run()
    assert [line[0] for line in merged(bench)] == ["good"]


def test_jobs_that_were_never_sent_keep_it_waiting(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.add({"a": b"", "b": b""}, send=False, sent=1)
    assert bench.run().reason == "every job that was sent has its result"
    assert not bench.has_result(MERGE)


def test_its_failure_is_recorded_as_any_jobs(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, files={"merge.py": "#!/bin/sh\necho no >&2; exit 3\n"})
    bench.limits = GENTLE.model_copy(update={"max_attempts": 2})
    bench.write_run()
    bench.add({"a": b""})
    assert bench.run().reason == "every job has its result"
    result = bench.result(MERGE)
    assert (result.status, result.cause, result.exit_code) == ("failed", Cause.COMMAND, 3)
    assert (result.attempt, len(bench.attempts(MERGE))) == (2, 1)
    assert result.stderr_tail == "no\n"


def test_a_job_that_is_done_again_has_it_done_again(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.add({"a": b"one", "b": b"two"})
    bench.run()
    again(bench, "a", b"three")
    bench.run("w2")
    assert [line[2] for line in merged(bench)] == ["THREE", "TWO"]
    assert bench.result(MERGE).worker == "w2"


def test_nothing_is_merged_again_while_the_results_are_the_same(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.add({"a": b"one"})
    bench.run()
    before = bench.store.head(bench.layout.result(MERGE))
    assert bench.run("w2").reason == "every job has its result"
    assert bench.store.head(bench.layout.result(MERGE)) == before


def test_a_merge_whose_message_was_lost_is_sent_again(tmp_path: Path) -> None:
    """As after a crash between the record and the message."""
    bench = bench_of(tmp_path)
    bench.add({"a": b"one"})
    bench.run()
    bench.store.delete([bench.layout.result(MERGE)])
    bench.run("w2")
    assert bench.result(MERGE).worker == "w2"


@pytest.mark.parametrize("garbage", [b"", b"[" * 9999, b'{"v":1,"digest":NaN}', b"\xff"])
def test_a_record_of_it_that_cannot_be_read_is_replaced(tmp_path: Path, garbage: bytes) -> None:
    bench = bench_of(tmp_path)
    bench.store.put(bench.layout.merge, garbage)
    bench.add({"a": b"one"})
    assert bench.run().reason == "every job has its result"
    assert merged(bench) == [["a", "a.out", "ONE", {}]]
    assert MergeRecord.decode(bench.store.get(bench.layout.merge)).outputs == 1


def test_a_merge_whose_record_is_spoiled_while_it_waits_is_done_all_the_same(
    tmp_path: Path,
) -> None:
    bench = bench_of(tmp_path)
    bench.add({"a": b"one"})
    bench.run()
    bench.store.put(bench.layout.merge, b"null")
    bench.store.delete([bench.layout.result(MERGE)])
    bench.run("late")
    assert merges(bench) >= 1
    assert merged(bench) == [["a", "a.out", "ONE", {}]]


def test_a_message_of_an_older_merge_is_dropped(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.add({"a": b"one"})
    bench.run()
    old = record(bench).message("r")
    again(bench, "a", b"two")
    bench.run("w2")
    newest = bench.result(MERGE)
    bench.queue.send([old.encode()])
    bench.run("w3")
    assert bench.result(MERGE) == newest
    assert merged(bench)[0][2] == "TWO"


def test_a_merge_that_is_out_of_date_while_it_runs_writes_nothing(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    wait = f'#!/bin/sh\n{gate.wait}\nexec ./really.py "$1"\n'
    bench = bench_of(tmp_path, files={"merge.py": wait, "really.py": MERGE_SH})
    bench.add({"a": b"one"})
    faults = Faults()
    worker = bench.worker("w1", store=FaultyStore(bench.store, faults))
    with at_work(worker) as (working,):
        until(gate.arrived)
        again(bench, "a", b"two")
        until(lambda: bench.has_result("a"))
        bench.store.put(bench.layout.merge, other_record(bench).encode())
        gate.open()
        working.join()
    assert merged(bench)[0][2] == "TWO"
    assert faults.calls.count(f"put {bench.layout.result(MERGE)}") == 1


def test_a_warm_run_merges_by_a_command_of_its_own(tmp_path: Path) -> None:
    script = f"exec python3 -c '{SERVE}'"
    then = Then(command=("sh", "-c", "echo merged > m; echo m"))
    bench = bench_of(tmp_path, script, then, serve=Serve())
    bench.add({"a": b"one"})
    bench.run()
    assert bench.output("m") == b"merged\n"


def test_thousands_of_outputs_fit_in_no_message_and_are_merged(tmp_path: Path) -> None:
    count = 3000
    many = f"for n in $(seq {count}); do echo $n > $n.txt; echo $n.txt; done"
    bench = bench_of(tmp_path, many)
    bench.add({"a": b""})
    bench.run()
    assert len(merged(bench)) == count


def test_outputs_that_replaced_others_are_listed_once(tmp_path: Path) -> None:
    naming = OutputNaming(on_clash="replace")
    bench = bench_of(tmp_path, 'echo "$1" > same; echo same', naming=naming, config=ONE_SLOT)
    bench.add({"a": b"", "b": b""})
    bench.run()
    (line,) = merged(bench)
    assert line[1] == "same"


def record(bench: Bench) -> MergeRecord:
    return MergeRecord.decode(bench.store.get(bench.layout.merge))


def other_record(bench: Bench) -> MergeRecord:
    """Return the record as another worker would leave it, of results that are not there."""
    return record(bench).model_copy(update={"digest": "0", "listed": "0"})


def again(bench: Bench, key: str, body: bytes) -> None:
    """Take a job's result and outputs away, as `retry` does, with another input."""
    layout: RunLayout = bench.layout
    outputs = bench.result(key).outputs
    bench.store.delete([layout.result(key), *(layout.output.key(o.key) for o in outputs)])
    bench.store.put(layout.input.key(key), body)
    bench.queue.send([bench.message(key).encode()])
