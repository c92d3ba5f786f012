"""Figures become a table and charts, and those of the docs are the ones that were taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.bench.engine import charts
from tests.bench.engine.figures import Figure, Report

TAKEN = Report.read(charts.FIGURES)
CPU = Figure("CPU of a no-op job, 2 slots", "after", "ms", (0.9, 0.8, 1.2), 1.0)
BEFORE = replace(CPU, who="before", rounds=(5.0, 5.5))
LOOP = Figure(CPU.row, "loop <plain>", "ms", (0.5,))
REPORT = Report(["before", "after"], {"cores": 2}, [BEFORE, CPU, LOOP])


def test_the_page_has_the_table_of_the_figures_that_were_taken() -> None:
    page = charts.PAGE.read_text()
    assert charts.with_table(page, TAKEN) == page


@pytest.mark.parametrize("chart", list(charts.charts(TAKEN)), ids=lambda chart: chart.name)
def test_the_page_shows_the_charts_of_the_figures_that_were_taken(chart: charts.Chart) -> None:
    assert (charts.CHARTS / f"{chart.name}.svg").read_text() == charts.draw(chart)
    assert f"performance/{chart.name}.svg" in charts.PAGE.read_text()


def test_a_row_has_a_column_for_each_agent_and_the_others_beside_them() -> None:
    page = charts.with_table("text\n", REPORT)
    row = "| 5.25 ms (5 to 5.5) | 0.9 ms (0.8 to 1.2) | loop <plain> 0.5 ms |"
    assert f"| CPU of a no-op job, 2 slots | ≤ 1 ms {row}" in page


def test_a_chart_is_an_image_with_a_bar_for_each_figure_and_a_line_for_the_goal() -> None:
    chart = next(iter(charts.charts(REPORT)))
    assert [bar.value for bar in chart.bars] == [5.25, 0.9, 0.5]
    image = ElementTree.fromstring(charts.draw(chart))
    space = "{http://www.w3.org/2000/svg}"
    assert len(image.findall(f"{space}rect")) == 1 + 3
    assert len(image.findall(f"{space}line")) == 1


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text(REPORT.encode())
    assert Report.read(file) == REPORT
