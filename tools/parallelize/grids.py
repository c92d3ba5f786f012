"""Grids of values as people write them: `lr=0.1,0.01 seed=1..5`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_RANGE = r"(-?\d+)\.\.(-?\d+)(?:\.\.(\d+))?"
_NAME = r"[^\W\d][\w-]*"


def parse_grid(value: object) -> dict[str, list[str]]:
    """Return the values of each variable; from a text, a list of texts, or a table.

    Raises ValueError with a message for the person who wrote it.
    """
    if isinstance(value, Mapping):
        return {_checked(str(name)): _values(part) for name, part in value.items()}
    parts = value.split() if isinstance(value, str) else list(_items(value))
    made: dict[str, list[str]] = {}
    for part in parts:
        name, sign, values = str(part).partition("=")
        if not sign:
            raise ValueError(f'"{part}" is not NAME=VALUES; write lr=0.1,0.01 or seed=1..5')
        if name in made:
            raise ValueError(f"{name} is given twice")
        made[_checked(name)] = expanded(values)
    return made


def expanded(text: str) -> list[str]:
    """Return the values that a text like `0.1,0.01`, `1..5` or `0..100..25` stands for."""
    return [value for part in text.split(",") for value in _range(part.strip())]


def _items(value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise ValueError(f'"{value}" is not a grid; write lr=0.1,0.01 seed=1..5')
    return list(value)


def _values(value: object) -> list[str]:
    if isinstance(value, list | tuple):
        return [_text(one) for one in value]
    return expanded(_text(value))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _checked(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        raise ValueError(f'"{name}" cannot name a variable; write lr=0.1,0.01 or seed=1..5')
    return name


def _range(text: str) -> list[str]:
    found = re.fullmatch(_RANGE, text)
    if found is None:
        return [text]
    start, end, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if not step:
        raise ValueError(f'"{text}" has a step of 0')
    way = 1 if end >= start else -1
    return [str(number) for number in range(start, end + way, way * step)]
