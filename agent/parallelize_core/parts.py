"""Large objects go in parts, several at once: one connection to S3 is slower than most networks.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from typing import NamedTuple, TypeVar

Made = TypeVar("Made")

MIB = 1024 * 1024

PART_BYTES = 16 * MIB
"""Longer objects go in parts of this length, unless there would be too many parts."""

MAX_PARTS = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

PARTS_AT_ONCE = 8
"""For all objects of a process together."""


class ObjectPart(NamedTuple):
    """A piece of an object, in bytes; parts are numbered from 1."""

    number: int
    start: int
    size: int


def part_bytes(size: int) -> int:
    """Return how long the parts of an object of `size` bytes are, the last one apart."""
    least = -(-size // MAX_PARTS)
    return max(PART_BYTES, -(-least // MIB) * MIB)


def parts_of(size: int) -> list[ObjectPart]:
    """Return the parts of an object of `size` bytes, at least one of them."""
    length = part_bytes(size)
    starts = enumerate(range(0, max(1, size), length), 1)
    return [ObjectPart(number, start, min(length, size - start)) for number, start in starts]


def at_once(
    pool: Executor, do: Callable[[ObjectPart], Made], parts: Sequence[ObjectPart]
) -> list[Made]:
    """Process each part; return the results in order.

    Raises the first error once no part is in progress.
    """
    futures = [pool.submit(do, part) for part in parts]
    try:
        return [future.result() for future in futures]
    except BaseException:
        wait([future for future in futures if not future.cancel()])
        raise
