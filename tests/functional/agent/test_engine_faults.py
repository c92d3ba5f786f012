"""What the first engine got wrong, number by number: none of it may come back.

| # | fault | tests beside those here |
|---|---|---|
| 1 | a success on half an input | test_any_error.py; transport/test_broken_answers.py |
| 2 | one odd error ended the worker | test_any_error.py; unit: test_scratch.py, test_outputs.py |
| 3 | parts died in silence | test_metadata.py; unit: core/test_boundary.py |
| 4 | one slow claim lost every lease | unit: test_keeper.py |
| 5 | the circuit breaker did unbounded work | unit: test_breaker.py; test_whose_fault.py |
| 6 | no time limit while draining | - |
| 7 | what a command says when asked to end blocked it | test_execution.py |
| 8 | outages ended a worker, refusals kept it | test_whose_fault.py, test_what_the_user_sees.py |
| 9 | one refused input, or one sick worker, spoilt the run | the same two |
| 10 | idle slots, stolen exit statuses, endless transfers | test_memory.py; unit: test_tree.py |
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.functional.agent.bench import SWIFT, Bench, Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyQueue, FaultyStore
from tests.functional.agent.live import at_work

from parallelize_agent.worker import LAST_POLL_SECONDS
from parallelize_core.heartbeat import WorkerState
from parallelize_core.queue import Message
from parallelize_core.result import Cause
from parallelize_core.run import Limits
from parallelize_core.testing import AsyncInMemoryStore, InMemoryStore

COPY = 'n=$(basename "$1"); cp "$1" "$n.out"; echo "$n.out"'
DONE = "every job has its result"


# 1. A success on half an input.


class ShortStore(InMemoryStore):
    """Gives half of each input once, and says nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.given: Counter[str] = Counter()

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        size = super().get_file(key, path, etag)
        self.given[key] += 1
        if "/input/" not in key or self.given[key] > 1:
            return size
        return path.write_bytes(path.read_bytes()[: size // 2])


@pytest.mark.parametrize("size", [1000, 300_000], ids=["small", "large"])
def test_a_short_read_is_never_taken_for_the_input(make: MakeBench, size: int) -> None:
    bench = make(COPY, store=ShortStore())
    bench.add({"x": bytes(range(250)) * (size // 250)})
    assert bench.run().error is None
    assert bench.result("x").status == "succeeded"
    assert len(bench.output("x.out")) == size


# 2. One odd error ended the worker.


def test_one_odd_error_costs_its_own_job_one_try_and_no_other_job_anything(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(f'case "$1" in *long) {gate.wait};; esac; {COPY}')
    bench.add({"long": b"1", "odd": b"2", "even": b"3"})
    raised: list[str] = []

    def raise_once(call: str) -> None:
        if call == f"get_file {bench.layout.input.key('odd')}" and not raised:
            raised.append(call)
            raise ssl.SSLError("[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]")

    with at_work(bench.worker("w1", store=FaultyStore(bench.store, Faults(raise_once)))) as (
        worker,
    ):
        until(lambda: bench.has_result("odd") and bench.has_result("even"))
        gate.open()
        assert worker.join().reason == DONE
    assert {bench.result(key).attempt for key in ("long", "odd", "even")} == {1}
    (setback,) = bench.attempts("odd")
    assert setback.cause is Cause.INFRASTRUCTURE
    assert bench.attempts("long") == bench.attempts("even") == []


def test_an_odd_error_while_a_result_is_written_interrupts_no_other_job(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(f'case "$1" in *long) {gate.wait};; esac; {COPY}')
    bench.add({"long": b"1", "odd": b"2"})
    raised: list[str] = []

    def raise_once(call: str) -> None:
        if call == f"put {bench.layout.result('odd')}" and not raised:
            raised.append(call)
            raise RuntimeError("can't start new thread")

    with at_work(bench.worker("w1", store=FaultyStore(bench.store, Faults(raise_once)))) as (
        worker,
    ):
        until(lambda: bench.has_result("odd"))
        assert worker.worker.describe().running == ("long",)
        gate.open()
        assert worker.join().reason == DONE
    assert bench.attempts("long") == []


def test_a_name_too_long_below_a_printed_folder_is_the_commands_failure(make: MakeBench) -> None:
    # 20 folders of 250 characters: no path leads to what is in the last.
    deep = "i=0; while [ $i -lt 20 ]; do mkdir $name; cd $name; i=$((i+1)); done; echo 1 > file"
    bench = make(
        f'case "$1" in *deep) name=$(head -c 250 /dev/zero | tr "\\0" x); mkdir top; '
        f"(cd top; {deep}); echo top;; *) {COPY};; esac",
        limits=Limits(max_attempts=1),
    )
    bench.add({"deep": b"1", "flat": b"2"})
    assert bench.run().reason == DONE
    assert (bench.result("deep").cause, bench.result("flat").cause) == (Cause.OUTPUT, None)


# 3. Parts died in silence.


def lease_keeper_dies(bench: Bench, gate: Gate) -> dict[str, object]:
    def alive() -> None:
        if gate.arrived():
            raise KeyError("WATCHDOG_USEC")

    return {"alive": alive}


def notices_die(bench: Bench, gate: Gate) -> dict[str, object]:
    async def notice() -> tuple[str, float]:
        while not gate.arrived():
            await asyncio.sleep(0.01)
        raise ValueError("a notice that is none")

    return {"notice": notice}


@pytest.mark.parametrize(
    ("part", "dies"), [("lease keeper", lease_keeper_dies), ("notices", notices_die)]
)
def test_a_part_that_dies_ends_its_worker_and_is_named(
    make: MakeBench, gate: Gate, part: str, dies: Callable[[Bench, Gate], dict[str, object]]
) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""})
    with at_work(bench.worker("w1", **dies(bench, gate))) as (worker,):
        reason = worker.join()
    assert reason.error
    last = bench.heartbeat()
    assert last.state is WorkerState.FAILED
    assert f"the agent's {part} stopped working" in last.reason
    assert [job.attempt for job in bench.waiting()] == [1]


def test_a_delete_that_fails_oddly_leaves_no_lease_that_is_renewed_for_ever(
    make: MakeBench,
) -> None:
    bench = make(COPY)
    bench.add({"x": b"1"})

    def break_deletes(call: str) -> None:
        if call == "delete":
            raise ValueError("the answer is not JSON")

    worker = bench.worker("w1", queue=FaultyQueue(bench.queue, Faults(break_deletes)))
    with at_work(worker) as (background,):
        until(lambda: worker.describe().done)
        until(lambda: worker.worker and not worker.worker.keeper.held)
        bench.clock.ahead = bench.config.lease_seconds
        background.leave()
    bench.run("w2")
    assert bench.queue.bodies() == []
    assert bench.result("x").worker == "w1"


# 4. One slow write of a claim lost every lease.


def test_a_claim_that_is_slow_costs_no_lease_of_the_worker(make: MakeBench, gate: Gate) -> None:
    config = SWIFT.model_copy(update={"lease_seconds": 2, "claim_after_seconds": 1, "slots": 4})
    bench = make(f'echo >> "{gate.folder}/begun"; {gate.wait}', config=config)
    bench.add({f"{number}": b"" for number in range(4)})
    go_on = threading.Event()
    of_queue = Faults()

    def hang(call: str) -> None:
        if call == f"put {bench.layout.claim('0')}":
            assert go_on.wait(20)

    worker = bench.worker(
        "w1",
        queue=FaultyQueue(bench.queue, of_queue),
        store=FaultyStore(bench.store, Faults(hang)),
    )
    with at_work(worker) as (background,):
        # The three others are claimed meanwhile, and renewed for longer than a lease.
        until(lambda: bench.queue.counts().delayed == 3)
        renewed = of_queue.calls.count("extend")
        until(lambda: of_queue.calls.count("extend") >= renewed + 5)
        assert len(worker.describe().running) == 4
        go_on.set()
        gate.open()
        until(lambda: all(bench.has_result(f"{number}") for number in range(4)))
        background.leave()
    assert (gate.folder / "begun").read_text() == "\n" * 4


# 5. The circuit breaker did unbounded work, and leaving waited for it.


def test_a_look_of_the_breaker_that_hangs_does_not_keep_a_worker_from_leaving(
    make: MakeBench,
) -> None:
    bench = make("exit 65", limits=Limits(halt="50"))
    bench.add({f"f{number}": b"" for number in range(3)})
    hanging = HangingStore(bench.store, f"list {bench.layout.failures.prefix}")
    with at_work(bench.worker("w1", open_store=lambda _: hanging)) as (worker,):
        until(lambda: hanging.hangs)
        most = bench.limits.grace_seconds + bench.config.interruption_margin_seconds
        worker.worker.shut_down("spot notice", 0)
        worker.join(most + bench.config.poll_seconds + LAST_POLL_SECONDS + 10)
    assert not any(bench.has_result(f"f{number}") for number in range(3))
    assert len(bench.queue.bodies()) == 3


class HangingStore(AsyncInMemoryStore):
    """A bucket that never answers one call."""

    def __init__(self, store: InMemoryStore, call: str) -> None:
        super().__init__(store)
        self._call = call
        self.hangs = False

    async def _answer(self, call: str) -> None:
        if call == self._call:
            self.hangs = True
            await asyncio.Event().wait()

    async def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        await self._answer(f"get {key}")
        return await super().get_within(key, limit, etag)

    async def get_file(
        self, key: str, path: Path, etag: str = "", size: int = 0, sha256: str = ""
    ) -> int:
        await self._answer(f"get {key}")
        return await super().get_file(key, path, etag, size, sha256)

    async def list(self, prefix, *, folder_only=False):  # type: ignore[no-untyped-def]
        await self._answer(f"list {prefix}")
        async for item in super().list(prefix, folder_only=folder_only):
            yield item


# 6. No time limit while draining.


def test_the_time_limit_holds_while_a_worker_drains(make: MakeBench, gate: Gate) -> None:
    bench = make(gate.wait, config=SWIFT.model_copy(update={"max_runtime_seconds": 3}))
    bench.add({"x": b""})
    with at_work(bench.worker("w1")) as (worker,):
        until(gate.arrived)
        worker.worker.shut_down("the run is paused: the cost limit is reached", None)
        assert worker.join().reason == "the time limit is reached (workers.max_hours)"
    assert [job.attempt for job in bench.waiting()] == [1]
    (record,) = bench.attempts("x")
    assert record.cause is Cause.INTERRUPTED


# 8. Outages of minutes.


def test_calls_that_were_made_just_before_an_outage_are_made_again_after_it(
    make: MakeBench, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    bench = make(f'echo "$1" >> "{begun}"; {COPY}', config=SWIFT.model_copy(update={"slots": 8}))
    keys = [f"f{number}" for number in range(24)]
    bench.add({key: key.encode() for key in keys})
    faults = Faults()

    def begin(call: str) -> None:
        if call.startswith("put runs/r/output/") and not faults.broken:
            faults.broken = {"get", "get_file", "head", "put", "put_file", "list", "delete"}

    faults.hook = begin
    worker = bench.worker("w1", store=FaultyStore(bench.store, faults))
    with at_work(worker) as (background,):
        probe = f"head {bench.layout.run_json}"
        until(lambda: faults.calls.count(probe) >= 4)
        faults.hook = lambda _: None
        faults.broken = set()
        assert background.join().reason == DONE
    assert {bench.result(key).attempt for key in keys} == {1}
    records = [record for key in keys for record in bench.attempts(key)]
    assert {record.cause for record in records} <= {Cause.INFRASTRUCTURE}, "nobody is charged"
    assert len(begun.read_text().splitlines()) == len(keys), "finished work was done again"


# 10. Transfers without end.


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "large"])
def test_a_transfer_that_never_ends_does_not_keep_a_worker_from_leaving(
    make: MakeBench, size: int
) -> None:
    bench = make(COPY)
    bench.add({"stuck": b"x" * size, "x": b"1"})
    hanging = HangingStore(bench.store, f"get {bench.layout.input.key('stuck')}")
    with at_work(bench.worker("w1", open_store=lambda _: hanging)) as (worker,):
        until(lambda: hanging.hangs and bench.has_result("x"))
        worker.worker.shut_down("it was asked to stop (SIGTERM)", 0, imposed=True)
        worker.join()
    assert [(job.key, job.attempt) for job in bench.waiting()] == [("stuck", 1)]
    assert bench.queue.counts().visible == 1, "it is handed back, and not left to its lease"


# What the queue has lost is sent again, and is not begun twice.


def test_a_message_that_is_sent_again_makes_its_receiver_look_for_a_claim(
    make: MakeBench, gate: Gate
) -> None:
    config = SWIFT.model_copy(update={"lease_seconds": 2, "claim_after_seconds": 1, "slots": 1})
    bench = make(f'echo >> "{gate.folder}/begun"; {gate.wait}', config=config)
    bench.add({"x": b""})
    with at_work(bench.worker("w1")):
        until(lambda: bench.queue.counts().delayed == 1)
        bench.clock.ahead = 15 * 60
        messages: list[Message] = until(lambda: bench.queue.receive(1, 0, 60))
        bench.queue.delete([message.receipt for message in messages])
        with at_work(bench.worker("w0")):
            until(lambda: bench.queue.counts().delayed == 1)
            assert all(again.claimed for again in bench.waiting())
        gate.open()
        until(lambda: bench.has_result("x"))
    assert (gate.folder / "begun").read_text() == "\n"
