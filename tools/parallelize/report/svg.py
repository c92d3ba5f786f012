"""The charts of a report over time, and of durations: pure functions from numbers to SVG.

Axes, labels and boxes are written without a library. Colours are classes of the page's style
sheet, so that they follow light and dark mode. Names come from outside: `text` turns each of them
into one harmless line of markup.
"""

from __future__ import annotations

import html
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from parallelize.console import escape
from parallelize.report.data import Interruption, WorkerAccount
from parallelize.runs.state.history import Execution
from parallelize.units import plural, show_duration

WIDTH = 960
LEFT, RIGHT = 56, 16
"""Margins for the labels of the axes, in the picture's units."""

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
        """Return the horizontal position of a time."""
        share = (when - self.begin) / max(1e-9, self.end - self.begin)
        return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)


def text(name: str) -> str:
    """Return a name as one harmless line of markup."""
    return html.escape(escape(name))


def show_seconds(seconds: float) -> str:
    """Return a duration with the digits that matter: `0.043 s`, `1.2 s`, `57m`."""
    if seconds >= 100:
        return show_duration(seconds)
    digits = 0 if seconds >= 10 else 1 if seconds >= 1 else 2 if seconds >= 0.1 else 3
    return f"{seconds:.{digits}f} s"


def time_axis(span: Span, top: float, bottom: float) -> Iterator[str]:
    """Draw a rule and a label at some round times."""
    length = span.end - span.begin
    step = next((step for step in _TIME_STEPS if length / step <= 9), _TIME_STEPS[-1])
    step *= max(1, math.ceil(length / step / 9))
    for passed in range(0, int(length) + 1, step):
        x = span.x(span.begin + passed)
        yield f'<path class="grid" d="M{px(x)} {px(top)}V{px(bottom)}"/>'
        yield label(x, bottom + 15, round_duration(passed), "middle")


def round_duration(seconds: float) -> str:
    """Return a duration without trailing zeros: `5m` and not `5m00s`."""
    return re.sub(r"(?<=[a-z])00[a-z]$", "", show_duration(seconds))


def levels(most: int, y: Callable[[float], float]) -> Iterator[str]:
    """Draw a rule and a label at round counts, and at `most`."""
    # The last label is the total; one just below it would overlap.
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
    """Return a function from a count to its vertical position, with `most` at the top."""
    return lambda value: top + height * (1 - value / most)


def label(x: float, y: float, told: str, anchor: str = "start", *, strong: bool = False) -> str:
    """Draw a text."""
    kind = "label strong" if strong else "label"
    place = f'x="{px(x)}" y="{px(y)}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{text(told)}</text>'


def rect(kind: str, box: tuple[float, float, float, float], title: str) -> str:
    """Draw a box (x, y, width, height) of a class, with the text to show on hover."""
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


CURVE_POINTS = 300
"""A curve with more points would look the same."""

LABEL_WIDTH = 130
BINS = 30


@dataclass(frozen=True)
class Goal:
    """The total number of files, and when the last is expected; None if unknown."""

    total: int
    end: float | None = None


def span_of(workers: Sequence[WorkerAccount], executions: Sequence[Execution]) -> Span | None:
    """Return the time from the first launch to the last sign of life; None if nothing happened."""
    lives = [(w.phases.launched or w.phases.started, w.phases.seen) for w in workers]
    times = [time for life in lives for time in life]
    times += [time for one in executions for time in (one.begin, one.end)]
    return Span(min(times), max(*times, min(times) + 1)) if times else None


def finished_chart(
    span: Span,
    executions: Sequence[Execution],
    workers: Sequence[WorkerAccount],
    interruptions: Sequence[Interruption],
    goal: Goal,
) -> str:
    """Draw the files finished over time, the workers below, interruptions as marks.

    The axis of files ends at the goal's total, and a line leads to its expected end.
    """
    now, span = span.end, _until_goal(span, goal)
    done = sorted(one.end for one in executions if one.final and one.cause is None)
    failed = sorted(one.end for one in executions if one.final and one.cause is not None)
    top, height, strip = 12, 190, 48
    most = max(goal.total, len(done), len(failed), 1)
    y = scale(most, top, height)
    strip_top = top + height + 22
    bottom = strip_top + strip
    parts = [
        *levels(most, y),
        *time_axis(span, top, bottom),
        _curve(span, now, done, y, "done"),
        _curve(span, now, failed, y, "failed") if failed else "",
        *_expected(span, now, goal, (len(done), goal.total - len(failed)), y),
        _worker_steps(span, now, workers, (strip_top, strip)),
        *(_mark(span, one, top, bottom) for one in interruptions),
    ]
    return picture(bottom + 24, "Files finished over time, and workers", parts)


def _until_goal(span: Span, goal: Goal) -> Span:
    """Return the span up to the expected end, but shorten it to leave the past at least a third."""
    if goal.end is None or goal.end <= span.end:
        return span
    return Span(span.begin, min(goal.end, span.end + 2 * (span.end - span.begin)))


def _expected(
    span: Span, now: float, goal: Goal, counts: tuple[int, int], y: Callable[[float], float]
) -> Iterator[str]:
    """Draw a line from the count of files done now to the expected total."""
    if goal.end is None or goal.end <= now:
        return
    done, total = counts
    there = done + (total - done) * (span.end - now) / (goal.end - now)
    begin = f"M{px(span.x(now))} {px(y(done))}"
    yield f'<path class="rule" d="{begin}L{px(span.x(span.end))} {px(y(there))}"/>'
    told = f"about {show_duration(goal.end - now)} left"
    yield label(span.x(span.end) - 4, y(there) + 16, told, "end")


def _curve(
    span: Span, now: float, times: Sequence[float], y: Callable[[float], float], kind: str
) -> str:
    """Draw how many of the times have passed, until now."""
    points = [(span.x(span.begin), y(0))]
    for number in range(1, CURVE_POINTS + 1):
        when = span.begin + (now - span.begin) * number / CURVE_POINTS
        points.append((span.x(when), y(bisect_right(times, when))))
    line = " ".join(f"{px(x)},{px(at)}" for x, at in points)
    ends = f"{px(points[-1][0])},{px(y(0))} {px(points[0][0])},{px(y(0))}"
    return (
        f'<polygon class="area {kind}" points="{line} {ends}"/>'
        f'<polyline class="line {kind}" points="{line}"/>'
    )


def _worker_steps(
    span: Span, now: float, workers: Sequence[WorkerAccount], strip: tuple[float, float]
) -> str:
    top, height = strip
    came = [(w.phases.started, 1) for w in workers]
    went = [(w.phases.seen, -1) for w in workers if not w.worker.alive]
    counts, count = [(span.begin, 0)], 0
    for when, change in sorted(came + went):
        count += change
        counts.append((when, count))
    most = max((count for _, count in counts), default=0) or 1
    y = scale(most, top, height)
    steps = "".join(f"H{px(span.x(when))}V{px(y(count))}" for when, count in _thinned(counts))
    start = f"M{px(span.x(span.begin))} {px(y(0))}"
    return (
        f'<path class="area workers" d="{start}{steps}H{px(span.x(now))}V{px(y(0))}Z"/>'
        + label(LEFT - 8, y(most) + 9, f"{most:,}", "end")
        + label(LEFT - 8, y(0), "0", "end")
        + label(LEFT, top - 5, "workers", strong=True)
    )


def _thinned(counts: Sequence[tuple[float, int]]) -> Sequence[tuple[float, int]]:
    step = max(1, len(counts) // (2 * CURVE_POINTS))
    return [*counts[:-1:step], counts[-1]]


def _mark(span: Span, one: Interruption, top: float, bottom: float) -> str:
    x = span.x(one.at)
    return (
        f'<g class="mark"><title>{text(one.worker)}: {text(one.reason or "interrupted")}</title>'
        f'<path d="M{px(x)} {px(top)}V{px(bottom)}"/>'
        f'<path class="flag" d="M{px(x)} {px(top)}l5 -9h-10z"/></g>'
    )


def histogram(seconds: Sequence[float], p50: float, p95: float) -> str:
    """Draw how many files took how long; the scale is logarithmic if durations differ much."""
    edges = bin_edges(seconds)
    counts = [0] * (len(edges) - 1)
    for value in seconds:
        counts[min(len(counts) - 1, max(0, bisect_right(edges, value) - 1))] += 1
    top, height = 32, 160
    y = scale(max(counts), top, height)
    parts = [
        *levels(max(counts), y),
        *_bins(edges, counts, y),
        *_rules([("median", p50), ("p95", p95)], edges, top, y(0)),
    ]
    return picture(top + height + 24, "Seconds per file", parts)


def _bins(
    edges: Sequence[float], counts: Sequence[int], y: Callable[[float], float]
) -> Iterator[str]:
    wide = (WIDTH - LEFT - RIGHT) / len(counts)
    for number, count in enumerate(counts):
        if count:
            box = (LEFT + number * wide + 0.5, y(count), wide - 1, y(0) - y(count))
            between = f"{show_seconds(edges[number])} to {show_seconds(edges[number + 1])}"
            yield rect("done", box, f"{plural(count, 'file')}: {between}")
    for number in range(0, len(edges), max(1, len(edges) // 8)):
        yield label(LEFT + number * wide, y(0) + 15, show_seconds(edges[number]), "middle")


def _rules(
    values: Sequence[tuple[str, float]], edges: Sequence[float], top: float, bottom: float
) -> Iterator[str]:
    """Draw a line at each value; each label has its own row above, so that labels never overlap."""
    for row, (name, value) in enumerate(reversed(values)):
        x, y = LEFT + _share(value, edges) * (WIDTH - LEFT - RIGHT), top - 5 - 13 * row
        anchor, shift = ("end", -4) if x > WIDTH - LABEL_WIDTH else ("start", 4)
        yield f'<path class="rule" d="M{px(x)} {px(y - 9)}V{px(bottom)}"/>'
        yield label(x + shift, y, f"{name} {show_seconds(value)}", anchor, strong=True)


def bin_edges(seconds: Sequence[float]) -> list[float]:
    """Return the edges of the bins, rising; equal steps, or equal ratios for a long tail."""
    low, high = min(seconds), max(seconds)
    if high - low < 1e-6 * max(1.0, low):
        return [low, low + max(low, 0.001) / 10]
    count = max(1, min(BINS, math.ceil(2 * math.sqrt(len(seconds)))))
    if low > 1e-6 and high / low > 50:
        ratio = (high / low) ** (1 / count)
        return [low * ratio**number for number in range(count + 1)]
    return [low + (high - low) * number / count for number in range(count + 1)]


def _share(value: float, edges: Sequence[float]) -> float:
    """Return how far along the bins a value lies, from 0 to 1."""
    place = min(len(edges) - 2, max(0, bisect_right(edges, value) - 1))
    within = (value - edges[place]) / (edges[place + 1] - edges[place])
    return (place + min(1.0, max(0.0, within))) / (len(edges) - 1)
