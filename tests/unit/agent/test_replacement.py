"""How often an unfit machine is replaced by another."""

from __future__ import annotations

import pytest
from tests.unit.agent.workers import LAYOUT, Scene, beat

from parallelize_agent.machine.group import MAX_REPLACED, may_be_replaced
from parallelize_core.errors import UnavailableError
from parallelize_core.testing import InMemoryStore


@pytest.mark.parametrize(("before", "replaced"), [(0, True), (2, True), (3, False), (7, False)])
def test_three_unfit_machines_are_replaced_and_no_more(before: int, replaced: bool) -> None:
    assert MAX_REPLACED == 3
    others = [beat(f"sick{number}", unfit=True) for number in range(before)]
    scene = Scene(*others, beat("well"), beat("w1", unfit=True))
    assert may_be_replaced(scene.store, LAYOUT, "w1") is replaced


def test_a_machine_is_not_replaced_where_nobody_knows_how_many_were() -> None:
    class Away(InMemoryStore):
        def list(self, prefix, *, folder_only=False):  # type: ignore[no-untyped-def]
            raise UnavailableError("S3 does not answer")

    assert not may_be_replaced(Away(), LAYOUT, "w1")
