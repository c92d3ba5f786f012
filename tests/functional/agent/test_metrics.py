"""What a worker tells of itself and of the run, and the cost limit."""

from dataclasses import dataclass, field

import pytest
from botocore.exceptions import ClientError

from parallelize_agent.reporting.metrics import Metrics, Publisher
from parallelize_core.charges import Charges, Rates
from parallelize_core.config import AgentConfig
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.lane import Lane
from parallelize_core.run import Run
from parallelize_core.testing import InMemoryStore

CONFIG = AgentConfig(run="scans", bucket="bucket", queue_url="q", dead_letter_queue_url="d")
LAYOUT = CONFIG.layout


@dataclass
class Books:
    """A store with a run, and the metrics of one of its workers."""

    max_cost: float | None = None
    prepared: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        self.store = InMemoryStore()
        run = Run(
            name="scans", command=("job.sh",), input=LAYOUT.input, output=LAYOUT.output,
            created_at="2026-11-20T00:00:00Z",
        )  # fmt: skip
        self.store.put(LAYOUT.run_json, run.encode())
        rates = Rates(prepared=self.prepared)
        config = CONFIG.model_copy(update={"max_cost_usd": self.max_cost, "rates": rates})
        self.metrics = Metrics(config, self.store, self.publish)

    def publish(self, figures):
        self.figures |= {figure.name: figure.value for figure in figures}

    def beat(self, worker, *, hours=1.0, price=0.10, settle=False, **more):
        beat = Heartbeat(
            worker=worker, started=0, seen=hours * 3600, interval_seconds=30, hourly_usd=price,
            **{"state": WorkerState.BUSY, **more},
        )  # fmt: skip
        self.store.put(LAYOUT.heartbeat(worker), beat.encode())
        if settle:
            self.figures.clear()
            self.metrics.publish(beat)

    @property
    def paused(self):
        return Run.decode(self.store.get(LAYOUT.run_json)).paused


def test_files_are_counted_since_the_last_heartbeat():
    books = Books()
    books.beat("i-1", done=5, failed=1, settle=True)
    assert (books.figures["Finished"], books.figures["Failed"]) == (6, 1)
    books.beat("i-1", done=7, failed=1, settle=True)
    assert (books.figures["Finished"], books.figures["Failed"]) == (2, 0)


def test_only_the_first_living_worker_tells_of_the_run():
    books = Books()
    books.beat("i-1")
    books.beat("i-2", settle=True)
    assert "RunUsd" not in books.figures
    assert books.figures["Heartbeats"] == 1


@pytest.mark.parametrize("state", [WorkerState.LEFT, WorkerState.FAILED])
def test_the_next_takes_over_when_the_first_has_ended(state):
    books = Books()
    books.beat("i-1", hours=2, state=state)
    books.beat("i-2", settle=True)
    assert books.figures["RunUsd"] == pytest.approx(0.30)


def test_the_next_takes_over_when_the_first_is_overdue():
    books = Books()
    books.beat("i-1", hours=1)
    books.beat("i-2", hours=2, settle=True)
    assert "RunUsd" in books.figures


def test_the_run_is_paused_at_its_cost_limit_with_what_was_spent():
    books = Books(max_cost=0.25)
    books.beat("i-2", hours=2)
    books.beat("i-1", hours=2, settle=True)
    assert books.paused == "the cost limit of $0.25 is reached (about $0.40 spent)"


@pytest.mark.parametrize(("first", "second"), [(Lane.MAIN, Lane.LARGE), (Lane.LARGE, Lane.MAIN)])
def test_the_workers_of_all_lanes_count_towards_the_limit(first, second):
    books = Books(max_cost=0.25)
    books.beat("i-2", hours=2, lane=second)
    books.beat("i-1", hours=2, lane=first, settle=True)
    assert books.paused == "the cost limit of $0.25 is reached (about $0.40 spent)"


@pytest.mark.parametrize("lane", [Lane.LARGE, Lane.STEADY])
def test_the_limit_is_kept_by_a_lane_whose_workers_are_the_last(lane):
    books = Books(max_cost=0.25)
    books.beat("i-1", hours=2, state=WorkerState.LEFT)
    books.beat("i-2", hours=2, lane=lane, settle=True)
    assert books.paused == "the cost limit of $0.25 is reached (about $0.40 spent)"


def test_what_is_charged_beside_the_machines_counts_towards_the_limit():
    books = Books(max_cost=0.25)
    books.beat("i-2", hours=1, price=0.01, charges=Charges(requests_usd=0.22))
    books.beat("i-1", hours=1, price=0.01, settle=True)
    assert books.paused == ""
    books.beat("i-1", hours=1, price=0.01, charges=Charges(disk_usd=0.02), settle=True)
    assert books.paused == "the cost limit of $0.25 is reached (about $0.26 spent)"
    assert books.figures["RunUsd"] == pytest.approx(0.26)


def test_what_was_paid_for_sending_the_inputs_counts_towards_the_limit():
    books = Books(max_cost=0.25, prepared=0.20)
    books.beat("i-1", hours=0.6, settle=True)
    assert books.paused == "the cost limit of $0.25 is reached (about $0.26 spent)"


@pytest.mark.parametrize("limit_of_the_first", [None, 100.0])
def test_a_limit_is_kept_although_the_first_worker_has_none_or_a_higher_one(limit_of_the_first):
    # Workers of several launches are there together, and each has the settings of its own.
    books = Books(max_cost=0.25)
    books.beat("i-1", hours=2, max_cost_usd=limit_of_the_first)
    books.beat("i-2", hours=2, max_cost_usd=0.25, settle=True)
    assert books.paused.startswith("the cost limit of $0.25 is reached")
    assert "RunUsd" not in books.figures


def test_of_workers_with_one_limit_only_the_first_reads_what_all_have_cost():
    books = Books(max_cost=0.25)
    books.beat("i-1", hours=2, max_cost_usd=0.25)
    books.beat("i-2", hours=2, max_cost_usd=0.25, settle=True)
    assert books.paused == ""
    books.beat("i-1", hours=2, max_cost_usd=0.25, settle=True)
    assert books.paused


def test_below_its_limit_the_run_goes_on():
    books = Books(max_cost=0.25)
    books.beat("i-1", hours=2, settle=True)
    assert books.paused == ""


def test_a_run_that_cannot_be_read_does_not_stop_the_work():
    books = Books(max_cost=0.25)
    books.store.delete([LAYOUT.run_json])
    books.beat("i-1", hours=100, settle=True)
    assert books.store.head(LAYOUT.run_json) is None, "nobody has made one up"


class RefusingCloudWatch:
    """Answers every call with one error code, and counts them."""

    def __init__(self, code):
        self.code, self.calls = code, 0

    def put_metric_data(self, **_):
        self.calls += 1
        raise ClientError({"Error": {"Code": self.code, "Message": ""}}, "PutMetricData")


@pytest.mark.parametrize(("code", "calls"), [("AccessDenied", 1), ("Throttling", 2)])
def test_a_publisher_that_may_not_publish_asks_only_once(code, calls):
    client = RefusingCloudWatch(code)
    publish = Publisher(lambda: client, "Parallelize")
    publish([])
    publish([])
    assert client.calls == calls
