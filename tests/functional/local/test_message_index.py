"""The indexed queue against a list that is searched from end to end, over random histories."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parallelize.local.message_index import SMALLEST_REBUILD, MessageIndex, Schedule, State

RETENTION = 40
seconds = st.integers(min_value=0, max_value=15)


@dataclass
class Listed:
    """A message of the reference; it becomes visible at `visible_at`, `turn` orders the visible."""

    id: str
    sent_at: int
    visible_at: float
    state: State = State.DELAYED
    turn: tuple[float, int] = (0, 0)


class QueueHistory(RuleBasedStateMachine):
    """Sends, receives, releases and deletes in any order, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.sent = 0
        self.changes = 0
        self.index: MessageIndex[str] = MessageIndex()
        self.listed: list[Listed] = []

    @rule(delay=seconds)
    def send(self, delay: int) -> None:
        self.sent += 1
        message = Listed(f"m{self.sent}", self.now, self.now + delay)
        self.hide(message, self.now + delay)
        self.listed.append(message)
        self.index.put(
            message.id, message.id, sent_at=message.sent_at, visible_at=message.visible_at
        )

    @rule(hidden=seconds)
    def receive(self, hidden: int) -> None:
        self.advance()
        visible = [message for message in self.listed if message.state is State.VISIBLE]
        entry = self.index.take(self.now, self.now + hidden)
        if not visible:
            assert entry is None
            return
        first = min(visible, key=lambda message: message.turn)
        assert entry is not None
        assert entry.id == first.id
        first.state = State.IN_FLIGHT
        self.hide(first, self.now + hidden)

    @rule(data=st.data(), hidden=seconds)
    def change_visibility(self, data: st.DataObject, hidden: int) -> None:
        self.advance()
        in_flight = [message for message in self.listed if message.state is State.IN_FLIGHT]
        if in_flight:
            message = data.draw(st.sampled_from(in_flight))
            entry = self.index.get(message.id)
            assert entry is not None
            self.index.hide_until(entry, self.now + hidden)
            self.hide(message, self.now + hidden)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if self.listed:
            message = data.draw(st.sampled_from(self.listed))
            entry = self.index.get(message.id)
            assert entry is not None
            self.index.remove(entry)
            self.listed.remove(message)

    @rule(passed=seconds)
    def wait(self, passed: int) -> None:
        self.now += passed
        self.advance()

    @invariant()
    def counts_are_those_of_the_list(self) -> None:
        self.advance()
        states = [message.state for message in self.listed]
        assert len(self.index) == len(states)
        assert [self.index.count(state) for state in State] == [
            states.count(state) for state in State
        ]

    @invariant()
    def next_change_is_that_of_the_list(self) -> None:
        self.advance()
        hidden = [m.visible_at for m in self.listed if m.state is not State.VISIBLE]
        assert self.index.next_change() == min(hidden, default=float("inf"))

    def advance(self) -> None:
        self.index.advance(self.now, RETENTION)
        self.listed = [m for m in self.listed if m.sent_at + RETENTION > self.now]
        for message in self.listed:
            if message.visible_at <= self.now:
                message.state = State.VISIBLE

    def hide(self, message: Listed, until: int) -> None:
        """Messages queue up in the order in which they become visible, ties as they were hidden."""
        self.changes += 1
        message.visible_at = until
        message.turn = (until, self.changes)


TestQueueHistory = QueueHistory.TestCase
TestQueueHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_schedule_forgets_what_is_rescheduled_and_discarded() -> None:
    table: Schedule[str] = Schedule()
    for time in range(10_000):
        table.set("lease", time)
        table.set("other", time)
        table.discard("other")
    assert len(table) == 1
    assert len(table._heap) <= 2 + SMALLEST_REBUILD
    assert list(table.pop_due(9_999)) == ["lease"]
