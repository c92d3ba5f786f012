import pytest

from parallelize_core.errors import MissingError, ServiceError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.pause import pause, resume
from parallelize_core.run import Run
from parallelize_core.store import ALWAYS
from parallelize_core.testing import InMemoryStore

LAYOUT = RunLayout(Location("bucket"), "scans")
RUN = Run(
    name="scans", command=("job.sh",), input=LAYOUT.input, output=LAYOUT.output, created_at="2026"
)


@pytest.fixture
def store():
    store = InMemoryStore()
    store.put(LAYOUT.run_json, RUN.encode())
    return store


def paused(store):
    return Run.decode(store.get(LAYOUT.run_json)).paused


def test_a_paused_run_says_why_and_keeps_everything_else(store):
    assert pause(store, LAYOUT, "the cost limit is reached")
    stored = Run.decode(store.get(LAYOUT.run_json))
    assert stored == RUN.model_copy(update={"paused": "the cost limit is reached"})


def test_the_first_reason_for_a_pause_stays(store):
    pause(store, LAYOUT, "first")
    assert not pause(store, LAYOUT, "second")
    assert paused(store) == "first"


def test_a_resumed_run_is_as_it_was(store):
    pause(store, LAYOUT, "stop")
    assert resume(store, LAYOUT)
    resumed = Run.decode(store.get(LAYOUT.run_json))
    assert resumed == RUN.model_copy(update={"resumed_at": resumed.resumed_at})
    assert resumed.resumed_at


def test_resuming_what_runs_changes_nothing(store):
    before = store.head(LAYOUT.run_json)
    assert not resume(store, LAYOUT)
    assert store.head(LAYOUT.run_json) == before


def test_what_was_read_a_moment_ago_is_not_written_over_what_is_there_now(store):
    pause(store, LAYOUT, "stop")
    read = store.get(LAYOUT.run_json), store.head(LAYOUT.run_json).etag
    newer = Run.decode(read[0]).model_copy(update={"renewed": True})
    store.put(LAYOUT.run_json, newer.encode())
    assert resume(store, LAYOUT, read)
    there = Run.decode(store.get(LAYOUT.run_json))
    assert (there.renewed, there.paused) == (True, "")


def test_a_run_that_does_not_exist_cannot_be_paused():
    with pytest.raises(MissingError):
        pause(InMemoryStore(), LAYOUT, "why")


class BusyStore(InMemoryStore):
    """Somebody else writes run.json just before each of the first `rivals` conditional writes."""

    def __init__(self, rivals):
        super().__init__()
        self.rivals = rivals

    def put(self, key, body, condition=ALWAYS, metadata=None):
        if condition != ALWAYS and self.rivals:
            self.rivals -= 1
            command = (f"rival{self.rivals}",)
            super().put(key, RUN.model_copy(update={"command": command}).encode())
        return super().put(key, body, condition, metadata)


def test_what_another_writes_meanwhile_is_not_lost():
    store = BusyStore(rivals=3)
    store.put(LAYOUT.run_json, RUN.encode())
    assert pause(store, LAYOUT, "why")
    assert Run.decode(store.get(LAYOUT.run_json)).command == ("rival0",)
    assert paused(store) == "why"


def test_a_pause_gives_up_on_a_run_json_that_never_rests():
    store = BusyStore(rivals=1000)
    store.put(LAYOUT.run_json, RUN.encode())
    with pytest.raises(ServiceError, match="keeps changing"):
        pause(store, LAYOUT, "why")


def failures(store, count):
    for number in range(count):
        store.put(LAYOUT.failure(f"{number}"), b"")


def test_resuming_forgives_the_failures_there_are(store):
    pause(store, LAYOUT, "too many failures")
    failures(store, 3)
    resume(store, LAYOUT)
    assert Run.decode(store.get(LAYOUT.run_json)).forgiven == 3


def test_failures_that_came_after_the_record_was_read_are_forgiven_too(store):
    pause(store, LAYOUT, "too many failures")
    read = store.get(LAYOUT.run_json), store.head(LAYOUT.run_json).etag
    failures(store, 3)
    store.put(LAYOUT.silence("a"), b"")
    resume(store, LAYOUT, read)
    there = Run.decode(store.get(LAYOUT.run_json))
    assert (there.forgiven, there.forgiven_silent) == (3, 1)


class FailingStore(InMemoryStore):
    """A job fails, and another client changes run.json, before the first conditional write."""

    rivals = 1

    def put(self, key, body, condition=ALWAYS, metadata=None):
        if condition != ALWAYS and self.rivals:
            self.rivals -= 1
            failures(self, 1)
            super().put(key, RUN.model_copy(update={"paused": "stop", "renewed": True}).encode())
        return super().put(key, body, condition, metadata)


def test_failures_that_came_while_another_changed_the_run_are_forgiven_too():
    store = FailingStore()
    store.put(LAYOUT.run_json, RUN.model_copy(update={"paused": "stop"}).encode())
    assert resume(store, LAYOUT)
    there = Run.decode(store.get(LAYOUT.run_json))
    assert (there.renewed, there.forgiven) == (True, 1)


def test_what_was_forgiven_and_then_retried_is_not_forgiven_twice(store):
    failures(store, 3)
    pause(store, LAYOUT, "too many failures")
    resume(store, LAYOUT)
    store.delete([LAYOUT.failure("0"), LAYOUT.failure("1")])
    assert not resume(store, LAYOUT)
    assert Run.decode(store.get(LAYOUT.run_json)).forgiven == 1


class LosingStore(InMemoryStore):
    """A bucket whose conditional writes arrive, while their answers do not."""

    def put(self, key, body, condition=ALWAYS, metadata=None):
        super().put(key, body, condition, metadata)
        return super().put(key, body, condition, metadata)


def test_a_change_whose_answer_was_lost_is_known_again():
    store = LosingStore()
    store.put(LAYOUT.run_json, RUN.encode())
    assert pause(store, LAYOUT, "stop")
    assert paused(store) == "stop"
    assert resume(store, LAYOUT)
    assert paused(store) == ""


class RenewingStore(InMemoryStore):
    """Somebody else writes run.json between two reads of it."""

    waiting = False

    def head(self, key):
        found = super().head(key)
        self.renew()
        return found

    def get(self, key):
        found = super().get(key)
        self.renew()
        return found

    def renew(self):
        if self.waiting:
            self.waiting = False
            newer = RUN.model_copy(update={"renewed": True})
            self.put(LAYOUT.run_json, newer.encode())


def test_what_is_written_during_a_look_is_not_lost():
    store = RenewingStore()
    store.put(LAYOUT.run_json, RUN.encode())
    store.waiting = True
    pause(store, LAYOUT, "stop")
    there = Run.decode(store.get(LAYOUT.run_json))
    assert (there.renewed, there.paused) == (True, "stop")
