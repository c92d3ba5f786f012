"""The parts of charts: axes, labels and boxes as SVG, without a library.

Colours are classes that the page's style sheet gives, so that they follow light and dark. Names
come from outside: `text` makes each of them one harmless line of markup.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from parallelize.console import escape
from parallelize.units import show_duration

WIDTH = 960
LEFT, RIGHT = 56, 16
"""Margins for the labels of the axes, in the units of the picture."""

_TIME_STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
    172800, 604800,
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """The time that a chart shows, in seconds since 1970."""

    begin: float
    end: float

    def x(self, when: float) -> float:
        """Return where a time lies."""
        share = (when - self.begin) / max(1e-9, self.end - self.begin)
        return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)


def text(name: str) -> str:
    """Return a name as markup that is one harmless line."""
    return html.escape(escape(name))


def show_seconds(seconds: float) -> str:
    """Return a time with the digits that tell: `0.043 s`, `1.2 s`, `57m`."""
    if seconds >= 100:
        return show_duration(seconds)
    digits = 0 if seconds >= 10 else 1 if seconds >= 1 else 2 if seconds >= 0.1 else 3
    return f"{seconds:.{digits}f} s"


def time_axis(span: Span, top: float, bottom: float) -> Iterator[str]:
    """Draw a rule and a label for each of some round times."""
    length = span.end - span.begin
    step = next((step for step in _TIME_STEPS if length / step <= 9), _TIME_STEPS[-1])
    step *= max(1, math.ceil(length / step / 9))
    for passed in range(0, int(length) + 1, step):
        x = span.x(span.begin + passed)
        yield f'<path class="grid" d="M{px(x)} {px(top)}V{px(bottom)}"/>'
        yield label(x, bottom + 15, round_duration(passed), "middle")


def round_duration(seconds: float) -> str:
    """Return a time without trailing zeros: `5m` and not `5m00s`."""
    return re.sub(r"(?<=[a-z])00[a-z]$", "", show_duration(seconds))


def levels(most: int, y: Callable[[float], float]) -> Iterator[str]:
    """Draw a rule and a label for round counts, and for `most`."""
    # The last is the whole; one just below it would be written over it.
    round_ones = [count for count in nice_levels(most) if count < 0.93 * most]
    for count in (*round_ones, most):
        yield f'<path class="grid" d="M{LEFT} {px(y(count))}H{WIDTH - RIGHT}"/>'
        yield label(LEFT - 8, y(count) + 4, f"{count:,}", "end")


def nice_levels(most: int) -> list[int]:
    """Return up to six round counts from 0 to at most `most`."""
    rough = max(1.0, most / 5)
    power = 10 ** math.floor(math.log10(rough))
    step = next(int(power * one) for one in (1, 2, 5, 10) if power * one >= rough)
    return list(range(0, most + 1, step))


def scale(most: int, top: float, height: float) -> Callable[[float], float]:
    """Return what tells where a count lies, `most` being at the top."""
    return lambda value: top + height * (1 - value / most)


def label(x: float, y: float, told: str, anchor: str = "start", *, strong: bool = False) -> str:
    """Draw a text."""
    kind = "label strong" if strong else "label"
    place = f'x="{px(x)}" y="{px(y)}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{text(told)}</text>'


def rect(kind: str, box: tuple[float, float, float, float], title: str) -> str:
    """Draw a box (x, y, width, height) of a class, with what is shown when it is pointed at."""
    x, y, width, height = map(px, box)
    place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<rect class="{kind}" {place}><title>{text(title)}</title></rect>'


def picture(height: float, title: str, parts: Sequence[str]) -> str:
    """Return the whole picture."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {px(height)}" role="img" aria-label="{title}">'
        + "".join(parts)
        + "</svg>"
    )


def px(value: float) -> str:
    """Return a coordinate in as few characters as possible."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
