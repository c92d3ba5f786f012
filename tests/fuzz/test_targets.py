"""Each fuzz target, for a short while: on its seeds, on changed seeds, and on any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.targets import SEEDS, TARGETS

PATCH = st.tuples(st.integers(0, 2000), st.integers(0, 8), st.binary(max_size=8))


def changed(seed: bytes, patches: list[tuple[int, int, bytes]]) -> bytes:
    """Return a seed with a few pieces cut out and others put in their place."""
    for place, length, piece in patches:
        start = place % (len(seed) + 1)
        seed = seed[:start] + piece + seed[start + length :]
    return seed


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_is_taken(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=30)
@given(data=st.data())
def test_no_bytes_from_outside_break_a_promise(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[name]))
    TARGETS[name](changed(seed, data.draw(st.lists(PATCH, min_size=1, max_size=4))))
    TARGETS[name](data.draw(st.binary(max_size=200)))
