"""Inputs that runs share: whatever the order of the calls, none goes that a run relies on.

The real choice of `prep` and real sweeps, over a bucket in memory. The weakened variants show that
the search would notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from tests.model.schedule import Actor, Plan, plans, run

from parallelize.runs.inputs import sweep_inputs
from parallelize.runs.inputs.shared_inputs import SharedInputs
from parallelize.spool import Table
from parallelize_core.layout import Location, RunLayout
from parallelize_core.testing import InMemoryStore

BASE = Location("bucket", "p/")
NEW = RunLayout(BASE, "new")
SHA256 = "0123456789abcdef" * 4
OLD = SharedInputs(InMemoryStore(), BASE).place.key(SHA256, "0old")

SENDING, SWEEPING = 6, 16
"""How many calls they make at most."""

Work = Callable[[Any], None]


def rely(store: Any, held: Iterable[str]) -> None:
    """Send the input if it is not there; then the run relies on it."""
    shared = SharedInputs(store, BASE)
    place = min(held, default="")
    if not place:
        place = shared.new_key(SHA256)
        store.put(place, b"content")
    store.put(NEW.run_json, place.encode())


def send(store: Any) -> None:
    """What `prep` does."""
    rely(store, SharedInputs(store, BASE).hold(NEW, Table([SHA256]), Table([SHA256])))


def sweeping(store: Any) -> None:
    sweep_inputs.sweep_inputs(store, BASE)


class World:
    """A bucket in which a run that is no more has left an input."""

    def __init__(self) -> None:
        self.store = InMemoryStore("bucket")
        self.store.put(OLD, b"content")

    def check(self) -> None:
        """What the run relies on is there, at any moment."""
        if self.store.head(NEW.run_json):
            assert self.store.head(self.store.get(NEW.run_json).decode())

    def kept(self) -> list[str]:
        return [item.key for item in self.store.list(BASE.key("runs", ".shared", ""))]


def actors(sweeps: Sequence[Work], sending: Work, crash: tuple[int, int]) -> list[Actor]:
    """The `prep`, and beside it a number of sweeps, one of which dies before a call."""
    made = [Actor("prep", sending)]
    made += [Actor(f"sweep {number}", one) for number, one in enumerate(sweeps)]
    if crash[0] >= 0:
        made[crash[0]].crashes_at = crash[1]
    return made


def search(
    sweeps: Sequence[Work], changes: int, sending: Work = send, crash: tuple[int, int] = (-1, -1)
) -> int:
    """Try all orders with up to that number of switches; return how many orders there were."""
    count = 0
    lengths = {0: SENDING, **{1 + number: SWEEPING for number in range(len(sweeps))}}
    for plan in plans(lengths, changes):
        world, at_work = World(), actors(sweeps, sending, crash)
        run(at_work, world.store, plan, world.check)
        assert all(actor.calls <= lengths[number] for number, actor in enumerate(at_work))
        # Whatever is left over, a later sweep takes it, and nothing that the run relies on.
        sweeping(world.store)
        world.check()
        world.store.delete([item.key for item in world.store.list(NEW.root.prefix)])
        sweeping(world.store)
        assert world.kept() == []
        count += 1
    return count


@pytest.mark.parametrize(
    ("sweeps", "changes"),
    [pytest.param(1, 3, id="a sweep"), pytest.param(2, 2, id="two sweeps")],
)
def test_a_sweep_never_takes_away_what_a_run_relies_on(sweeps: int, changes: int) -> None:
    assert search([sweeping] * sweeps, changes) > 100


@pytest.mark.parametrize("crash_at", range(SWEEPING))
def test_nor_does_one_that_dies_at_any_call_before_another(crash_at: int) -> None:
    assert search([sweeping, sweeping], 1, crash=(1, crash_at)) > 0


@pytest.mark.parametrize("crash_at", range(SENDING))
def test_what_a_dead_prep_has_sent_goes_with_its_run(crash_at: int) -> None:
    assert search([sweeping], 1, crash=(0, crash_at)) > 0


def test_an_input_that_is_there_is_not_sent_again() -> None:
    world = World()
    send(world.store)
    assert world.store.get(NEW.run_json).decode() == OLD


def look_first(store: Any) -> None:
    """Looks what is there, and names it afterwards."""
    shared = SharedInputs(store, BASE)
    held = shared.hold(NEW, Table(), Table([SHA256]))
    shared.hold(NEW, Table([SHA256]), Table())
    rely(store, held)


def no_look_for_marks(store: Any) -> None:
    """Names what it needs, and relies on whatever is there."""
    shared = SharedInputs(store, BASE)
    shared.hold(NEW, Table([SHA256]), Table())
    rely(store, {row[0] for rows in shared.find(Table([SHA256])).values() for row in rows})


def marks_last(store: Any) -> None:
    """Looks what is there, and for marks only then."""
    shared = SharedInputs(store, BASE)
    shared.hold(NEW, Table([SHA256]), Table())
    found = {row[0] for rows in shared.find(Table([SHA256])).values() for row in rows}
    doomed = {shared.doomed.relative(item.key) for item in store.list(shared.doomed.prefix)}
    rely(store, {key for key in found if shared.place.relative(key) not in doomed})


def delete_at_once(store: Any) -> None:
    """Deletes what no run named a moment ago."""
    shared = SharedInputs(store, BASE)
    there = sweep_inputs._below(store, shared.place)
    named = sweep_inputs.read_named(store, BASE)
    store.delete(shared.place.key(one) for one in there if one[:64] not in named)


def mark_once_read(store: Any) -> None:
    """Marks what it deletes, and believes what it has read before."""
    shared = SharedInputs(store, BASE)
    there = sweep_inputs._below(store, shared.place)
    named = sweep_inputs.read_named(store, BASE)
    going = [one for one in there if one[:64] not in named]
    for one in going:
        store.put(shared.doomed.key(one), b"")
    store.delete(shared.place.key(one) for one in going)
    store.delete(shared.doomed.key(one) for one in going)


@pytest.mark.parametrize(
    ("sweeps", "sending", "changes"),
    [
        pytest.param([sweeping], look_first, 3, id="prep names afterwards"),
        pytest.param([sweeping], no_look_for_marks, 3, id="prep sees no marks"),
        pytest.param([sweeping], marks_last, 3, id="prep looks for marks last"),
        pytest.param([delete_at_once], send, 3, id="deletes at once"),
        pytest.param([mark_once_read], send, 3, id="does not read again"),
    ],
)
def test_the_search_finds_what_a_weaker_order_loses(
    sweeps: Sequence[Work], sending: Work, changes: int
) -> None:
    with pytest.raises(AssertionError):
        search(sweeps, changes, sending)


def pausing(calls: int, other: Work) -> None:
    """Have a sweep pause after some calls, and another work once `prep` has named the input."""
    world = World()
    plan = Plan(((calls, 1), (1, 0), (20, 2), (20, 0), (20, 1)))
    run(actors([sweeping, other], send, (-1, -1)), world.store, plan, world.check)


def pausing_anywhere(other: Work) -> None:
    for calls in range(1, SWEEPING):
        pausing(calls, other)


@pytest.mark.parametrize("calls", range(1, SWEEPING))
def test_a_mark_stays_as_long_as_what_it_is_for(calls: int) -> None:
    pausing(calls, sweeping)


def take_marks_away(store: Any) -> None:
    """Sweeps, and takes away the marks of what turned out to be named."""
    sweeping(store)
    store.delete(item.key for item in store.list(SharedInputs(store, BASE).doomed.prefix))


def test_if_one_that_is_named_lost_its_mark_another_sweep_could_take_it_away() -> None:
    with pytest.raises(AssertionError):
        pausing_anywhere(take_marks_away)
