"""What a command prints is kept within bounds, its beginning and its end above all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_agent.process.capture import (
    IN_MEMORY_BYTES,
    MAX_LINE_BYTES,
    TAIL_BYTES,
    Capture,
    Kept,
    Lines,
    Tail,
)

chunks = st.lists(
    st.binary(max_size=200) | st.integers(0, 3 * TAIL_BYTES).map(lambda n: bytes([n % 251]) * n),
    max_size=12,
)


def all_of(kept: Kept) -> bytes:
    return kept if isinstance(kept, bytes) else kept.read_bytes()


def kept(path: Path, limit: int, written: list[bytes]) -> tuple[bytes, Capture]:
    with Capture(path, limit) as capture:
        for chunk in written:
            capture.write(chunk)
    return all_of(capture.content), capture


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


@pytest.mark.parametrize("path", ["/dev/full", "/no/such/folder/log"])
def test_a_disk_that_takes_nothing_is_no_error(path: str) -> None:
    with Capture(Path(path), 2 * IN_MEMORY_BYTES) as capture:
        capture.write(b"x" * (IN_MEMORY_BYTES + 1))
        capture.write(b"y" * 10)
    assert capture.dropped == IN_MEMORY_BYTES + 11


@pytest.mark.parametrize("pieces", [(b"x" * IN_MEMORY_BYTES,), (b"x",) * 100, ()])
def test_a_command_that_prints_little_takes_no_file(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    content, _ = kept(tmp_path / "log", 2 * IN_MEMORY_BYTES, list(pieces))
    assert content == b"".join(pieces)
    assert list(tmp_path.iterdir()) == []


def test_what_is_more_than_memory_is_to_hold_goes_to_the_file(tmp_path: Path) -> None:
    pieces = [b"%d\n" % number for number in range(IN_MEMORY_BYTES)]
    _, capture = kept(tmp_path / "log", 2**30, pieces)
    assert capture.content == tmp_path / "log"
    assert (tmp_path / "log").read_bytes() == b"".join(pieces)


@given(st.lists(st.binary(max_size=2 * TAIL_BYTES), max_size=10))
def test_a_tail_is_the_end_of_what_was_said(written: list[bytes]) -> None:
    tail = Tail()
    for chunk in written:
        tail.write(chunk)
    assert tail.data == b"".join(written)[-TAIL_BYTES:]
    assert isinstance(tail.text, str)


@given(said=st.lists(st.binary(max_size=40), max_size=30), cuts=st.lists(st.integers(1, 50)))
def test_every_line_is_kept_in_whatever_pieces_it_comes(
    tmp_path_factory, said: list[bytes], cuts: list[int]
) -> None:
    stream = b"\n".join(said)
    pieces, rest = [], stream
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    path = tmp_path_factory.mktemp("lines") / "stdout"
    with Lines(path) as lines:
        for piece in (*pieces, rest):
            lines.write(piece)
    kept = all_of(lines.content).split(b"\n")
    expected = dict.fromkeys(part for part in stream.replace(b"\0", b"\n").split(b"\n") if part)
    assert set(kept) - {b""} == set(expected)
    assert list(dict.fromkeys(part for part in kept if part)) == list(expected)


def kept_lines(path: Path, *pieces: bytes) -> list[bytes]:
    with Lines(path) as lines:
        for piece in pieces:
            lines.write(piece)
    return all_of(lines.content).split(b"\n")[:-1]


LONG = b"x" * (3 * MAX_LINE_BYTES)


@pytest.mark.parametrize(
    "pieces",
    [
        (LONG + b"\nout\n",),
        (LONG, LONG, b"\nout\n"),
        (LONG, b"/out\nout\n"),
        (LONG, b"a\rb", LONG, b"\nout"),
    ],
)
def test_a_line_longer_than_any_path_is_left_out(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    assert kept_lines(tmp_path / "stdout", *pieces) == [b"out"]


@pytest.mark.parametrize(
    "pieces",
    [
        (b"\r50%" * 10_000 + b"\rout\n",),
        (b"\r50%" * 10_000, b"\rout", b"\n"),
        (b"\r50%" * 10_000, b"\rou", b"t\r", b"\n"),
        (LONG, b"\rout\n"),
    ],
)
def test_a_name_after_a_long_progress_bar_is_kept(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    kept = kept_lines(tmp_path / "stdout", *pieces)
    assert [line.strip().rpartition(b"\r")[2] for line in kept] == [b"out"]


def test_a_line_that_is_repeated_takes_no_room(tmp_path: Path) -> None:
    for_ever = [b"waiting for the server\n" * 1000] * 100
    assert kept_lines(tmp_path / "stdout", *for_ever) == [b"waiting for the server"]


def test_a_zero_byte_ends_a_line_as_no_path_has_one(tmp_path: Path) -> None:
    assert kept_lines(tmp_path / "stdout", b"a.txt\0b.txt\0", bytes(100_000), b"c.txt") == [
        b"a.txt",
        b"b.txt",
        b"c.txt",
    ]


def test_a_line_that_the_disk_did_not_take_is_told() -> None:
    with Lines(Path("/dev/full")) as lines:
        lines.write(b"".join(b"%d\n" % number for number in range(IN_MEMORY_BYTES)))
        lines.write(b"more\n")
    assert "No space left" in lines.lost


def test_a_last_line_that_the_disk_did_not_take_is_told() -> None:
    with Lines(Path("/dev/full")) as lines:
        lines.write(b"".join(b"%05d\n" % number for number in range(IN_MEMORY_BYTES // 6)))
        assert lines.lost == ""
        lines.write(b"the-last-one")
    assert "No space left" in lines.lost
