"""Draw the charts of docs/performance.md, and write its table, from figures that were taken.

    python -m tests.bench.engine.charts

They are in tests/bench/figures/engine.json, as `python -m tests.bench.engine --json FILE` writes
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape

from tests.bench.engine.figures import Figure, Report, short
from tests.bench.small_cloud.process import ROOT

FIGURES = ROOT / "tests/bench/figures/engine.json"
PAGE = ROOT / "docs/performance.md"
CHARTS = ROOT / "docs/performance"
START, END = "<!-- figures -->\n", "<!-- end of figures -->\n"

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 760, 290, 70
BAR, GAP, TOP, BOTTOM = 18, 6, 56, 34
STYLE = """
  .ground { fill: #ffffff } .text { fill: #1f2328 } .quiet { fill: #59636e }
  .before { fill: #8c959f } .after { fill: #0969da } .peer { fill: #b08800 }
  .goal { stroke: #1a7f37; stroke-width: 2; stroke-dasharray: 5 3 } .goal-text { fill: #1a7f37 }
  .value { paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
  text { font: 13px system-ui, sans-serif } .title { font-size: 15px; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .before { fill: #656c76 } .after { fill: #4493f8 } .peer { fill: #d29922 }
    .value { stroke: #0d1117 }
    .goal { stroke: #3fb950 } .goal-text { fill: #3fb950 }
  }
"""


@dataclass(frozen=True)
class Bar:
    """One bar; `kind` is a class of STYLE, and says whose it is."""

    label: str
    value: float
    kind: str


@dataclass(frozen=True)
class Choice:
    """What to make a chart of: the rows that start so; of a ratio, what is above 1, in percent."""

    name: str
    title: str
    unit: str
    rows: tuple[str, ...]
    above_one: bool = False

    def value(self, figure: Figure) -> float:
        """Return the length of a figure's bar."""
        return 100 * (figure.median - 1) if self.above_one else figure.median


CHOSEN = (
    Choice("cpu", "CPU of the agent for a no-op job", "ms", ("CPU of a no-op job, ",)),
    Choice(
        "rate", "No-op jobs on one core, commands included", "/s",
        ("jobs on one core", "starting a no-op", "a message and a no-op"),
    ),
    Choice(
        "makespan", "Makespan above the ideal, 30 ms a request", "%", ("makespan",), above_one=True
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """What a chart shows; `goal` is drawn as a line."""

    name: str
    title: str
    unit: str
    bars: tuple[Bar, ...]
    goal: float | None = None


def main() -> None:
    report = Report.read(FIGURES)
    CHARTS.mkdir(exist_ok=True)
    for chart in charts(report):
        (CHARTS / f"{chart.name}.svg").write_text(draw(chart))
    PAGE.write_text(with_table(PAGE.read_text(), report))


def charts(report: Report) -> Iterator[Chart]:
    """Make the charts that were chosen."""
    for choice in CHOSEN:
        rows = dict.fromkeys(each.row for each in report.figures if _fits(each, choice))
        bars = [bar for row in rows for bar in _bars(report, row, choice)]
        goals = {choice.value(each) for each in _goals(report, tuple(rows))}
        goal = goals.pop() if len(goals) == 1 else None
        yield Chart(choice.name, choice.title, choice.unit, tuple(bars), goal)


def _fits(figure: Figure, choice: Choice) -> bool:
    return figure.row.startswith(choice.rows) and not figure.row.endswith("loop's")


def _goals(report: Report, rows: tuple[str, ...]) -> Iterator[Figure]:
    """Return what is wanted, as figures."""
    for each in report.figures:
        if each.row in rows and each.goal is not None:
            yield replace(each, rounds=(each.goal,))


def _bars(report: Report, row: str, choice: Choice) -> Iterator[Bar]:
    label = row.removesuffix(", on one core").rpartition(", ")[2]
    for agent in report.agents:
        if figure := report.of(row, agent):
            kind = "after" if agent == report.agents[-1] else "before"
            yield Bar(f"{label}, {agent}", choice.value(figure), kind)
    for peer in report.peers(row):
        yield Bar(f"{label}, {peer.who}", choice.value(peer), "peer")


def draw(chart: Chart) -> str:
    """Return a chart as SVG."""
    height = TOP + len(chart.bars) * (BAR + GAP) + BOTTOM
    most = max([bar.value for bar in chart.bars] + [chart.goal or 0])
    scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / (most or 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(chart.title)}</title><style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        f'<text class="text title" x="16" y="28">{escape(chart.title)} ({chart.unit})</text>',
        _draw_goal(chart, scale, height),
        *(_draw_bar(bar, TOP + at * (BAR + GAP), scale) for at, bar in enumerate(chart.bars)),
        "</svg>\n",
    ]
    return "\n".join(part for part in parts if part)


def _draw_bar(bar: Bar, top: float, scale: float) -> str:
    width, middle = max(1.0, bar.value * scale), top + BAR - 5
    return (
        f'<text class="quiet" x="{LABEL_WIDTH - 8}" y="{middle}" text-anchor="end">'
        f"{escape(bar.label)}</text>"
        f'<rect class="{bar.kind}" x="{LABEL_WIDTH}" y="{top}" width="{width:.1f}" height="{BAR}"/>'
        f'<text class="text value" x="{LABEL_WIDTH + width + 6:.1f}" y="{middle}">'
        f"{short(bar.value)}</text>"
    )


def _draw_goal(chart: Chart, scale: float, height: int) -> str:
    if chart.goal is None:
        return ""
    x = LABEL_WIDTH + chart.goal * scale
    return (
        f'<line class="goal" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - BOTTOM + 4}"/>'
        f'<text class="goal-text" x="{x:.1f}" y="{height - 10}" text-anchor="middle">'
        f"goal {short(chart.goal)}</text>"
    )


def with_table(page: str, report: Report) -> str:
    """Return the page with its table made from these figures."""
    return replace_table(page, (START, END), _table(report), report.machine)


def replace_table(
    page: str, marks: tuple[str, str], lines: Iterable[str], machine: Mapping[str, object]
) -> str:
    """Return the page with other lines between two marks, and what they were taken on."""
    head, _, rest = page.partition(marks[0])
    _, _, tail = rest.partition(marks[1])
    taken_on = ", ".join(f"{name}: {value}" for name, value in machine.items())
    table = "\n".join(lines)
    return f"{head}{marks[0]}{table}\n\nTaken on {taken_on}.\n{marks[1]}{tail}"


def _table(report: Report) -> Iterator[str]:
    yield f"| | goal | {' | '.join(report.agents)} | beside it, in the same run |"
    yield f"|---|---|{'---|' * len(report.agents)}---|"
    for row in dict.fromkeys(figure.row for figure in report.figures):
        found = [report.of(row, agent) for agent in report.agents]
        goals = [_goal(each) for each in found if each]
        cells = [_value(each) if each else "" for each in found]
        peers = "; ".join(f"{each.who} {_value(each)}" for each in report.peers(row))
        yield f"| {row} | {goals[-1] if goals else ''} | {' | '.join(cells)} | {peers} |"


def _value(figure: Figure) -> str:
    low, high = figure.show(min(figure.rounds)), figure.show(max(figure.rounds))
    spread = f"({low} to {high})" if low != high else ""
    return f"{figure.show(figure.median)} {figure.unit} {spread} {figure.disturbed}".strip()


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return (
        f"{'≥' if figure.more_is_better else '≤'} {figure.show(figure.goal)} {figure.unit}".strip()
    )


if __name__ == "__main__":
    main()
