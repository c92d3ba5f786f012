"""The page of the five questions, from figures."""

from __future__ import annotations

from tests.bench.engine.charts import draw
from tests.bench.engine.figures import Figure, Report
from tests.bench.questions.page import END, START, charts, with_table

REPORT = Report(
    ["parallelize"],
    {"cores": 2},
    [
        Figure("files enqueued", "parallelize", "/s", (50_000.0,)),
        Figure("files enqueued", "Celery", "/s", (114.0,)),
        Figure("recovery after a kill", "parallelize", "s", (124.0,)),
        Figure("recovery after a notice", "parallelize", "s", (1.0,)),
    ],
)


def test_a_table_has_a_column_for_each_and_says_where_there_is_no_figure() -> None:
    page = with_table(f"before\n{START}old\n{END}after\n", REPORT)
    assert page.startswith(f"before\n{START}| | parallelize | Celery |\n")
    assert "| files enqueued | 50,000 /s | 114 /s |" in page
    assert "| recovery after a kill | 124 s | - |" in page
    assert page.endswith(f"Taken on cores: 2.\n{END}after\n")


def test_each_question_has_a_chart_with_a_bar_for_each_figure() -> None:
    drawn = {chart.name: draw(chart) for chart in charts(REPORT)}
    assert len(drawn) == 5
    assert "Celery" in drawn["question-enqueued"]
    assert "parallelize, notice" in drawn["question-recovery"]
