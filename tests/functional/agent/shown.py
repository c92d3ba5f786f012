"""What a person sees of a bench's run: the pages of `status` and `failures`."""

from __future__ import annotations

from tests.functional.agent.bench import Bench

from parallelize.queues import RunCounts
from parallelize.runs.results.failed import listing
from parallelize.runs.results.results import failed_results
from parallelize.runs.state.snapshot import Reader
from parallelize.runs.state.status import status_of
from parallelize.runs.state.view import page


def status_page(bench: Bench) -> str:
    """Return what `parallelize status` prints now, in one line."""
    counts = RunCounts(**vars(bench.queue.counts()))
    snapshot = Reader(bench.store, bench.layout, lambda _: lambda: counts).snapshot()
    return " ".join(" ".join(page(status_of(snapshot))).split())


def failures_page(bench: Bench) -> str:
    """Return what `parallelize failures` prints now, in one line."""
    return " ".join(" ".join(listing(failed_results(bench.store, bench.layout))).split())
