"""Parses times and sizes as people write them, and formats them for people."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from parallelize_core.record import MAX_MOMENT

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {
    "": 1, "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
}  # fmt: skip
# Few settings are written as texts, so these are compiled when one is read.
_DURATION = r"(?:\d+(?:\.\d+)?[smhd])+"
_DURATION_PART = r"(\d+(?:\.\d+)?)([smhd])"
_SIZE = r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)"
_SLOTS = r"\d+(?:\.\d+)?x"

CENT = 0.01
KIB = 1024

SLOTS_HELP = '"auto" or 0 (one per logical CPU), a number, or a share of the cores such as "2x"'


def parse_duration(value: object) -> float:
    """Return the seconds in `30m`, `1h30m`, `45s`, or in a bare number of seconds.

    Raises ValueError with a message for the person who wrote it.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(_DURATION, text):
        raise ValueError(f'"{value}" is not a time; write 90s, 30m, 1h30m or 2d')
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION_PART, text))


class Span(NamedTuple):
    """From `least` to `most`; None for no upper limit."""

    least: int
    most: int | None = None


def parse_size(value: object) -> int:
    """Return the bytes in `50GiB`, `500MB`, or in a bare number of bytes; ValueError otherwise.

    As in GNU tools, a single letter is binary: 1G is 1GiB.
    """
    match = re.fullmatch(_SIZE, str(value).strip())
    if isinstance(value, bool) or match is None or match[2] not in _BYTES:
        raise ValueError(f'"{value}" is not a size; write 500MB, 4GiB or a number of bytes')
    return int(float(match[1]) * _BYTES[match[2]])


def parse_counts(text: str) -> Span:
    """Return what `4` (at least 4) or `4-8` (both ends included) means; ValueError otherwise."""
    return _span(text, _count)


def parse_sizes(text: str) -> Span:
    """Return the bytes of `8GiB` (at least) or of `8GiB-32GiB`; ValueError otherwise."""
    return _span(text, parse_size)


def _span(text: str, read: Callable[[str], int]) -> Span:
    least, dash, most = text.partition("-")
    span = Span(read(least.strip()), read(most.strip()) if dash else None)
    if span.most is not None and span.most < span.least:
        raise ValueError(f'"{text}" is not a range: its first value is the larger one')
    return span


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'"{text}" is not a number; write "4" for at least 4, or "4-8"')
    return int(text)


def parse_slots(value: object) -> int | str:
    """Return the agent's setting: 0 for every logical CPU, a number, or a share such as `2x`."""
    text = str(value).strip().lower()
    if text == "auto":
        return 0
    if re.fullmatch(_SLOTS, text) and float(text[:-1]) > 0:
        return text
    if not isinstance(value, bool) and text.isascii() and text.isdigit():
        return int(text)
    raise ValueError(f'"{value}" is not a number of slots; write {SLOTS_HELP}')


def show_duration(seconds: float) -> str:
    """Return a duration for people: `45s`, `57m`, `1h02m`, `3d04h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 60:
        return f"{minutes}m{whole % 60:02d}s" if minutes < 10 else f"{minutes}m"
    if hours < 24:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{days}d{hours % 24:02d}h"


def iso(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch(text: str) -> float | None:
    """Return an ISO 8601 time as seconds since 1970; None if it is not one."""
    try:
        seconds = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds <= MAX_MOMENT else None


def show_size(size: int) -> str:
    """Return a number of bytes for people: `18.4 GiB`."""
    if abs(size) < KIB:
        return f"{size} Byte" if abs(size) == 1 else f"{size} Bytes"
    # humanize does the same, but takes two milliseconds to import.
    value, units = size / KIB, iter(("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))
    unit = next(units)
    while round(abs(value), 1) >= KIB and (larger := next(units, None)):
        value, unit = value / KIB, larger
    return f"{value:.1f} {unit}"


def plural(count: int, noun: str) -> str:
    """Return `1 file`, `2 files`, `1,200 files`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def show_usd(amount: float) -> str:
    """Return US dollars; below one cent, the first two significant digits."""
    if amount >= CENT or amount <= 0:
        return f"${amount:,.2f}"
    digits = 1 - math.floor(math.log10(amount))
    return f"${amount:.{digits}f}"
