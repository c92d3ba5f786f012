"""What lies on the dead-letter queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_core.dead_letter import DeadLetter
from parallelize_core.job import MAX_MESSAGE_BYTES


@given(st.text(st.characters(codec="utf-8")))
def test_a_letter_keeps_the_body_to_the_letter(body: str) -> None:
    letter = DeadLetter(reason="because", worker="i-1", body=body)
    assert DeadLetter.decode(letter.encode()) == letter


@pytest.mark.parametrize("character", ["a", '"', "\n", "界", "🧬"])
def test_the_largest_message_can_still_be_buried(character: str) -> None:
    body = character * (MAX_MESSAGE_BYTES // len(character.encode()))
    encoded = DeadLetter(reason="because", worker="i-1", body=body).encode()
    assert len(encoded.encode()) <= MAX_MESSAGE_BYTES
    assert body.startswith(DeadLetter.decode(encoded).body)


@given(st.text(st.characters(codec="utf-8")))
def test_a_bare_message_is_told_as_moved_by_sqs(body: str) -> None:
    assert DeadLetter.decode(body) == DeadLetter(
        reason="SQS moved it: it was received too often", worker="", body=body
    )
