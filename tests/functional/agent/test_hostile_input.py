"""Objects that no agent has written: no worker goes down with them, and no job is lost."""

from __future__ import annotations

import pytest
from tests.functional.agent.bench import Gate, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.faults import Faults, FaultyStore
from tests.functional.agent.live import at_work

GARBAGE = [b"", b"\xff\xfe", b'{"status": "unheard of"}', b"[" * 100_000]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_result_that_cannot_be_read_is_no_result(make: MakeBench, garbage: bytes) -> None:
    bench = make("echo x > out; echo out")
    bench.add({"x": b""})
    bench.store.put(bench.layout.result("x"), garbage)
    assert bench.run().error is None
    assert bench.result("x").status == "succeeded"


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_claim_that_cannot_be_read_is_nobodys(make: MakeBench, garbage: bytes) -> None:
    bench = make("true")
    bench.add({"x": b""}, send=False)
    bench.queue.send([bench.message("x").parked().encode()])
    bench.store.put(bench.layout.claim("x"), garbage)
    assert bench.run().error is None
    assert bench.result("x").status == "succeeded"


def test_heartbeats_that_cannot_be_read_keep_nobody_from_leaving(make: MakeBench) -> None:
    bench = make("true")
    for number, garbage in enumerate(GARBAGE):
        bench.store.put(bench.layout.heartbeat(f"a{number}"), garbage)
    bench.add({"x": b""})
    assert bench.run().error is None


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_broken_manifest_ends_the_worker_and_is_named(make: MakeBench, garbage: bytes) -> None:
    bench = make("true")
    bench.add({"x": b""})
    bench.store.put(bench.layout.manifest_part(1), garbage)
    departure = bench.run()
    assert departure.error
    assert "manifest" in departure.reason
    assert bench.heartbeat().state == "failed"
    assert bench.result("x").status == "succeeded"


def test_a_run_json_that_breaks_is_read_again_until_it_is_mended(
    make: MakeBench, gate: Gate
) -> None:
    bench = make(gate.wait)
    bench.add({"x": b""})
    good = bench.store.get(bench.layout.run_json)
    faults = Faults()
    with at_work(bench.worker("w1", store=FaultyStore(bench.store, faults))) as (worker,):
        until(gate.arrived)
        bench.store.put(bench.layout.run_json, b"{")
        seen = len(faults.calls)
        until(lambda: "get runs/r/run.json" in faults.calls[seen:])
        bench.store.put(bench.layout.run_json, good)
        gate.open()
        assert worker.join().error is None
    assert bench.result("x").status == "succeeded"
