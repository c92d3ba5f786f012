"""What a command prints is kept within bounds, its beginning and its end above all."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.process.capture import TAIL_BYTES, Capture, Tail

chunks = st.lists(
    st.binary(max_size=200) | st.integers(0, 3 * TAIL_BYTES).map(lambda n: bytes([n % 251]) * n),
    max_size=12,
)


def kept(path: Path, limit: int, written: list[bytes]) -> tuple[bytes, Capture]:
    with Capture(path, limit) as capture:
        for chunk in written:
            capture.write(chunk)
    return path.read_bytes(), capture


@given(written=chunks, limit=st.integers(0, 4 * TAIL_BYTES))
def test_the_beginning_and_the_end_are_kept_and_no_more(
    tmp_path_factory, written: list[bytes], limit: int
) -> None:
    said = b"".join(written)
    content, capture = kept(tmp_path_factory.mktemp("capture") / "log", limit, written)
    assert content.startswith(said[:limit])
    assert content.endswith(said[limit:][-TAIL_BYTES:])
    assert len(content) <= limit + TAIL_BYTES + 100
    assert capture.dropped == max(0, len(said) - limit)


@given(written=chunks, limit=st.integers(0, 4 * TAIL_BYTES))
def test_what_fits_is_kept_to_the_letter_and_a_gap_is_named(
    tmp_path_factory, written: list[bytes], limit: int
) -> None:
    said = b"".join(written)
    content, _ = kept(tmp_path_factory.mktemp("capture") / "log", limit, written)
    gap = len(said) - limit - TAIL_BYTES
    if gap <= 0:
        assert content == said
    else:
        assert b"\n[... %d bytes left out ...]\n" % gap in content


def test_a_disk_that_takes_nothing_is_no_error() -> None:
    with Capture(Path("/dev/full"), 1000) as capture:
        capture.write(b"x" * 10)
        capture.write(b"y" * 10)
    assert capture.dropped == 20


@given(st.lists(st.binary(max_size=2 * TAIL_BYTES), max_size=10))
def test_a_tail_is_the_end_of_what_was_said(written: list[bytes]) -> None:
    tail = Tail()
    for chunk in written:
        tail.write(chunk)
    assert tail.data == b"".join(written)[-TAIL_BYTES:]
    assert isinstance(tail.text, str)
