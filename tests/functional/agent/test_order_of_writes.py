"""In which order a worker writes, sends and deletes, seen from the service at each call.

What no order may do is lose a job or show what is not so: each test stops the world at one call,
lets something happen there, and looks at what the others would find.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import UNREACHABLE, Faults, FaultyQueue, FaultyStore
from tests.functional.agent.live import at_work
from tests.functional.agent.threaded import Clock

from parallelize_agent.job.stage_out import moment_apart
from parallelize_core.queue import MAX_DELAY_SECONDS, Queue
from parallelize_core.result import Output, Result
from parallelize_core.testing import InMemoryQueue

SHORT = SWIFT.model_copy(update={"lease_seconds": 2})
LONG = SHORT.model_copy(update={"claim_after_seconds": 1})
OUT = "put runs/r/output/out"
RESULT = "put runs/r/result/x.json"


class DelayingQueue(FaultyQueue):
    """Notes for how long jobs are to wait, and lets them be seen at once."""

    def __init__(self, queue: Queue, faults: Faults) -> None:
        super().__init__(queue, faults)
        self.delays: list[int] = []

    def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        self.delays.append(delay_seconds)
        super().send(bodies)


def run_while(bench: Bench, happens: Callable[[str, Faults, Clock], None]) -> Faults:
    """Run a worker that cannot renew leases; `happens` is told of each call of its store.

    It leaves once what it had in hand is gone. Calls of its queue are among those of the faults.
    """
    clock, faults = Clock(), Faults()
    faults.hook = lambda call: happens(call, faults, clock)
    of_queue = Faults(hook=faults.calls.append, broken={"extend", "counts"})
    queue = FaultyQueue(bench.queue, of_queue)
    worker = bench.worker("w1", queue=queue, store=FaultyStore(bench.store, faults), clock=clock)
    with at_work(worker) as (background,):
        until(lambda: clock.ahead and not worker.describe().running)
        background.leave()
    return faults


def outlive(bench: Bench, clock: Clock) -> None:
    """Let the worker's lease run out, by its own clock."""
    clock.ahead = bench.config.lease_seconds


@pytest.mark.parametrize(
    ("script", "last"),
    [
        ("echo 1 > a; echo 2 > b; echo a; echo b", "put runs/r/output/a"),
        ("echo 1 > a; head -c 100000 /dev/zero >&2; echo a", "put_file "),
        ("head -c 100000 /dev/zero >&2; exit 9", "put_file "),
    ],
    ids=["output", "result", "record of an attempt"],
)
def test_nothing_is_written_after_the_lease_is_lost(
    make: MakeBench, script: str, last: str
) -> None:
    bench = make(script)
    bench.add({"x": b""})
    reached: list[str] = []

    def lose(call: str, faults: Faults, clock: Clock) -> None:
        if call.startswith(last):
            outlive(bench, clock)
            reached.append(call)

    faults = run_while(bench, lose)
    assert reached
    after = faults.calls[faults.calls.index(reached[0]) + 1 :]
    written = [call for call in after if call.startswith("put") and "/agent/" not in call]
    assert written == []
    assert not bench.has_result("x")
    assert len(bench.queue.bodies()) == 1


def test_a_message_whose_lease_is_lost_is_not_replaced(make: MakeBench) -> None:
    bench = make("exit 9")
    bench.add({"x": b""})

    def lose(call: str, faults: Faults, clock: Clock) -> None:
        if call.startswith("put runs/r/log/"):
            outlive(bench, clock)

    run_while(bench, lose)
    assert [job.attempt for job in bench.waiting()] == [1]


def theirs(bench: Bench, *outputs: str) -> Result:
    """Return the result of another execution of the job, true as things stand."""
    told = []
    for name in outputs:
        head = bench.store.head(bench.layout.output.key(name))
        assert head
        told.append(Output(key=name, size=head.size, sha256="", etag=head.etag))
    return Result(
        run="r", key="x", attempt=1, worker="other", started_at="", finished_at="",
        status="succeeded", outputs=tuple(told),
    )  # fmt: skip


def left_by_an_earlier_execution(make: MakeBench) -> Bench:
    """Return a bench whose job has an output of its own there, and no result."""
    bench = make('echo "$PWD" > out; echo out')
    bench.add({"x": b""})
    bench.run("w0")
    bench.store.delete([bench.layout.result("x")])
    bench.queue.send([bench.message("x").encode()])
    return bench


def test_an_output_that_changes_while_it_is_replaced_is_looked_at_again(make: MakeBench) -> None:
    bench = left_by_an_earlier_execution(make)
    place = bench.layout.output.key("out")
    head = bench.store.head(place)
    assert head
    faults = Faults()

    def another_finishes(call: str) -> None:
        if call == OUT and faults.calls.count(OUT) == 2:
            bench.store.put(place, b"theirs", metadata=head.metadata)
            bench.store.put(bench.layout.result("x"), theirs(bench, "out").encode())

    faults.hook = another_finishes
    bench.worker("w1", store=FaultyStore(bench.store, faults)).run()
    assert bench.result("x").worker == "other"
    assert bench.output("out") == b"theirs"


def test_executions_that_replace_each_others_outputs_are_done_again_at_different_times(
    make: MakeBench,
) -> None:
    bench = left_by_an_earlier_execution(make)
    place = bench.layout.output.key("out")
    head = bench.store.head(place)
    assert head
    faults, queue = Faults(), DelayingQueue(bench.queue, Faults())

    def another_replaces(call: str) -> None:
        if call == RESULT and faults.calls.count(RESULT) <= 9:
            bench.store.put(place, b"theirs", metadata=head.metadata)

    faults.hook = another_replaces
    bench.worker("w1", queue=queue, store=FaultyStore(bench.store, faults)).run()
    assert len(queue.delays) == 5
    assert len(set(queue.delays)) > 1
    assert bench.result("x").worker == "w1"


@given(st.integers(0, 900), st.integers(0, 9))
def test_jobs_that_have_met_wait_as_long_as_others_at_least_and_no_longer_than_sqs_allows(
    least: int, setbacks: int
) -> None:
    assert least <= moment_apart(least, setbacks) <= MAX_DELAY_SECONDS


def test_a_true_result_that_comes_while_an_untrue_one_is_replaced_stands(make: MakeBench) -> None:
    bench = make("echo x > out; echo out")
    bench.add({"x": b""})
    faults = Faults()

    def others_finish(call: str) -> None:
        if call == RESULT and faults.calls.count(RESULT) == 1:
            stale = Output(key="out", size=1, sha256="", etag="replaced-by-now")
            untrue = theirs(bench).model_copy(update={"outputs": (stale,)})
            bench.store.put(bench.layout.result("x"), untrue.encode())
        elif call == RESULT:
            bench.store.put(bench.layout.result("x"), theirs(bench, "out").encode())

    faults.hook = others_finish
    bench.worker("w1", store=FaultyStore(bench.store, faults)).run()
    assert faults.calls.count(RESULT) == 2
    assert bench.result("x").worker == "other"


def test_a_late_write_that_has_spoiled_a_result_sends_the_job_again(make: MakeBench) -> None:
    bench = left_by_an_earlier_execution(make)

    def another_finishes(call: str, faults: Faults, clock: Clock) -> None:
        if call == OUT and faults.calls.count(OUT) == 2:
            # It has stood still since its last look at the lease, and goes on now.
            outlive(bench, clock)
            bench.clock.ahead = bench.config.lease_seconds
            (message,) = bench.queue.receive(1, 0, 60)
            bench.store.put(bench.layout.result("x"), theirs(bench, "out").encode())
            bench.queue.delete([message.receipt])

    faults = run_while(bench, another_finishes)
    # By now the worker may have received it once more.
    assert faults.calls[: faults.calls.index("send")].count("received 1") == 1
    bench.run("w2")
    head = bench.store.head(bench.layout.output.key("out"))
    assert head
    assert [output.etag for output in bench.result("x").outputs] == [head.etag]


def test_a_claim_lasts_until_the_result_is_written(make: MakeBench, gate: Gate) -> None:
    bench = make(f"{gate.wait}; echo x > out; echo out", config=LONG)
    bench.add({"x": b""})
    claimed: list[bool] = []

    def look(call: str) -> None:
        if call in {OUT, RESULT}:
            claimed.append(bench.store.head(bench.layout.claim("x")) is not None)

    store = FaultyStore(bench.store, Faults(hook=look))
    with at_work(bench.worker("w1", store=store)):
        until(lambda: bench.store.head(bench.layout.claim("x")))
        until(lambda: bench.queue.counts().delayed == 1)
        gate.open()
        until(lambda: bench.has_result("x"))
        until(lambda: bench.store.head(bench.layout.claim("x")) is None)
    assert claimed == [True, True]


def test_a_job_that_is_tried_again_is_never_without_a_message(make: MakeBench) -> None:
    bench = make("exit 9")
    bench.add({"x": b""})
    faults = Faults(broken={"send"})
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, faults))):
        until(lambda: faults.calls.count("send") >= 2)
    assert [job.attempt for job in bench.waiting()] == [1]


def test_a_failed_result_comes_before_the_dead_letter(make: MakeBench) -> None:
    bench = make("exit 65")
    bench.add({"x": b""})
    letters: list[int] = []

    def look(call: str) -> None:
        if call == RESULT:
            letters.append(len(bench.dead.bodies()))

    bench.worker("w1", store=FaultyStore(bench.store, Faults(hook=look))).run()
    assert letters == [0]
    assert len(bench.dead.bodies()) == 1


class ClosedQueue(InMemoryQueue):
    """A queue that takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def send(self, bodies, delay_seconds=0):  # type: ignore[no-untyped-def]
        self.asked += 1
        raise UNREACHABLE


def test_a_message_that_is_no_job_is_kept_until_it_is_a_dead_letter(make: MakeBench) -> None:
    bench = make("true")
    bench.dead = closed = ClosedQueue()
    bench.queue.send(["{"])
    with at_work(bench.worker("w1")):
        until(lambda: closed.asked)
    assert bench.queue.bodies() == ["{"]


class SlowDelete:
    """Holds up the first delete of a worker, and tells how often leases were renewed since."""

    def __init__(self) -> None:
        self.faults = Faults(hook=self._hold_up)
        self.go_on = threading.Event()

    @property
    def waits(self) -> bool:
        return "delete" in self.faults.calls

    def renewals(self) -> int:
        return self.faults.calls.count("extend")

    def _hold_up(self, call: str) -> None:
        if call == "delete":
            assert self.go_on.wait(20)


def test_a_lease_is_renewed_until_its_message_is_deleted(make: MakeBench) -> None:
    bench = make("true", config=SHORT)
    bench.add({"x": b""})
    slow = SlowDelete()
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, slow.faults))) as (worker,):
        until(lambda: slow.waits)
        before = slow.renewals()
        until(lambda: slow.renewals() >= before + 2)
        slow.go_on.set()
        worker.join()
    assert bench.queue.bodies() == []


def test_a_lease_is_renewed_while_its_worker_drains(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, config=SHORT)
    bench.add({"x": b""})
    faults = Faults()
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, faults))) as (worker,):
        until(gate.arrived)
        worker.worker.shut_down("told to stop", None)
        until(lambda: worker.worker.describe().leaving)
        before = faults.calls.count("extend")
        until(lambda: faults.calls.count("extend") >= before + 2)
        gate.open()
        worker.join()
    assert bench.result("x").worker == "w1"
    assert bench.queue.bodies() == []


def test_the_last_lease_is_renewed_until_the_last_delete(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, config=SHORT)
    bench.add({"x": b""})
    slow = SlowDelete()
    with at_work(bench.worker("w1", queue=FaultyQueue(bench.queue, slow.faults))) as (worker,):
        until(gate.arrived)
        worker.worker.shut_down("told to stop", None)
        until(lambda: worker.worker.describe().leaving)
        gate.open()
        until(lambda: slow.waits)
        before = slow.renewals()
        until(lambda: slow.renewals() > before)
        slow.go_on.set()
        worker.join()
    assert bench.queue.bodies() == []
