"""How many jobs a machine runs at once."""

from __future__ import annotations

import pytest

from parallelize_agent.machine.host import slot_count
from parallelize_core.errors import UsageError


@pytest.mark.parametrize(
    ("setting", "slots"), [(0, 4), ("0", 4), (7, 7), ("2x", 8), ("0.5x", 2), ("0.1x", 1)]
)
def test_slots_are_a_number_or_a_share_of_the_cpus(setting: int | str, slots: int) -> None:
    assert slot_count(setting, 4) == slots


@pytest.mark.parametrize("setting", ["", "x", "-1", "many", "1.5", "2 x"])
def test_anything_else_is_refused_in_words(setting: str) -> None:
    with pytest.raises(UsageError, match="is not a number of slots"):
        slot_count(setting, 4)
