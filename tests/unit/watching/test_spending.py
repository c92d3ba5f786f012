"""What a run has cost in requests before and beside its workers."""

import pytest
from tests.unit.watching.scene import LAYOUT, Scene

from parallelize.runs.state.spending import prepared_usd, spent_on, told_spent
from parallelize_core.charges import Charges
from parallelize_core.cost import Spent
from parallelize_core.layout import Location
from parallelize_core.run import Run

FILES = [f"{number}.txt" for number in range(1000)]


def scene(**charged):
    made = Scene()
    made.prepare(*FILES)
    if charged:
        made.beat("i-1", hourly_usd=0.06, charges=Charges(**charged))
    else:
        made.beat("i-1", hourly_usd=0.06)
    return made


def test_sending_the_inputs_and_their_messages_is_counted_with_the_requests():
    snapshot = scene(requests_usd=0.01).snapshot()
    assert prepared_usd(snapshot) == pytest.approx(1000 * 5e-6 + 100 * 4e-7)
    assert spent_on(snapshot).requests == pytest.approx(0.01 + 0.00504)


def test_inputs_that_were_in_s3_already_cost_no_sending():
    made = scene(requests_usd=0.01)
    run = Run.decode(made.store.get(LAYOUT.run_json))
    elsewhere = run.model_copy(update={"input": Location("other", "p/")})
    made.store.put(LAYOUT.run_json, elsewhere.encode())
    assert prepared_usd(made.snapshot()) == pytest.approx(100 * 4e-7)


def test_where_workers_are_charged_for_nothing_sending_costs_nothing_either():
    assert spent_on(scene().snapshot()).requests == 0


def test_machines_without_a_known_price_are_not_told_as_free():
    assert told_spent(Spent(disks=0.1)).startswith("machines not known, addresses $0.00")
