"""The table of the five questions in docs/performance.md, and a chart for each."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.engine.charts import CHARTS, PAGE, Bar, Chart, draw, replace_table
from tests.bench.engine.figures import Figure, Report
from tests.bench.small_cloud.process import ROOT

FIGURES = ROOT / "tests/bench/figures/questions.json"
START, END = "<!-- questions -->\n", "<!-- end of questions -->\n"

CHOSEN = (
    ("enqueued", "Files enqueued in a second", ("files enqueued",)),
    ("first", "From launch to the first file", ("launch to first file",)),
    ("overhead", "CPU for a file whose command does nothing", ("CPU for a file,",)),
    ("share", "Share of CPU in the commands, 0.2 s each", ("share of CPU",)),
    ("recovery", "From a kill, or a notice, to the file done elsewhere", ("recovery",)),
)
"""The name of a chart, its title, and how its rows begin."""


def write(report: Report) -> None:
    """Write the charts, and the table into the page."""
    for chart in charts(report):
        (CHARTS / f"{chart.name}.svg").write_text(draw(chart))
    PAGE.write_text(with_table(PAGE.read_text(), report))


def charts(report: Report) -> Iterator[Chart]:
    """Make a chart for each question."""
    for name, title, rows in CHOSEN:
        found = [each for each in report.figures if each.row.startswith(rows)]
        several = len({each.row for each in found}) > 1
        bars = tuple(_bar(each, several=several) for each in found)
        yield Chart(f"question-{name}", title, found[0].unit if found else "", bars)


def _bar(figure: Figure, *, several: bool) -> Bar:
    which = f", {figure.row.rpartition(' ')[2]}" if several else ""
    kind = "after" if figure.who == "parallelize" else "peer"
    return Bar(f"{figure.who}{which}", figure.median, kind)


def with_table(page: str, report: Report) -> str:
    """Return the page with its table made from these figures."""
    return replace_table(page, (START, END), _table(report), report.machine)


def _table(report: Report) -> Iterator[str]:
    names = list(dict.fromkeys(each.who for each in report.figures))
    yield f"| | {' | '.join(names)} |"
    yield f"|---|{'---:|' * len(names)}"
    for row in dict.fromkeys(each.row for each in report.figures):
        found = [report.of(row, name) for name in names]
        cells = [f"{one.show(one.median)} {one.unit}" if one else "-" for one in found]
        yield f"| {row} | {' | '.join(cells)} |"
