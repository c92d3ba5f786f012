"""The charts: markup that no name can break, of a size that no run can blow up."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.watching.report_scene import Page, report_on
from tests.unit.watching.scene import NOW, Scene

from parallelize.console import escape
from parallelize.report.data import Report
from parallelize.report.lanes import LANES, MAX_BARS, lanes_chart
from parallelize.report.svg import (
    LEFT,
    RIGHT,
    WIDTH,
    Goal,
    Span,
    bin_edges,
    finished_chart,
    histogram,
    nice_levels,
    round_duration,
    span_of,
)
from parallelize.runs.state.history import Execution
from parallelize_core.heartbeat import WorkerState
from parallelize_core.record import MAX_NUMBER
from parallelize_core.result import Cause

SPAN = Span(NOW - 1000, NOW)


def execution(begin: float, seconds: float = 1, key: str = "a", **changes: object) -> Execution:
    start = NOW - 1000 + begin
    fields = {"worker": "i-1", "how": "done", "cause": None, **changes}
    return Execution(key=key, begin=start, end=start + seconds, **fields)  # type: ignore[arg-type]


def workers(count: int = 1, slots: int = 4) -> Report:
    scene = Scene()
    for number in range(count):
        scene.beat(f"i-{number + 1}", started=NOW - 1000, slots=slots)
    return report_on(scene)


def bars(svg: str, kind: str = r"\w+") -> list[str]:
    return re.findall(rf'<rect class="{kind}"[^>]*><title>([^<]*)', svg)


@given(st.text(), st.text())
def test_no_name_and_no_reason_breaks_a_chart(name: str, reason: str) -> None:
    scene = Scene()
    scene.beat(name, WorkerState.LEFT, leaving=NOW - 10, reason=reason, type=reason)
    report = report_on(scene)
    page = Page(lanes_chart(SPAN, report.workers, [execution(10, key=name, worker=name)]))
    assert {tag for tag, _ in page.tags} <= {"svg", "rect", "title", "text", "path"}
    assert any(escape(name) in title for title in page.texts["title"])


@given(st.lists(st.tuples(st.floats(0, 990), st.floats(0, 9)), max_size=60), st.integers(1, 8))
def test_every_file_that_ran_is_in_a_bar_of_its_worker(runs: list, slots: int) -> None:
    ran = [execution(begin, seconds) for begin, seconds in runs]
    titles = bars(lanes_chart(SPAN, workers(slots=slots).workers, ran), "done")
    told = [re.match(r"([\d,]+) files", title) for title in titles]
    assert sum(int(found[1]) if found else 1 for found in told) == len(runs)


def test_a_bar_is_named_after_its_file() -> None:
    failed = execution(500, 60, "b.tif", how="exit 1", cause=Cause.COMMAND)
    back = execution(700, 60, "c.tif", how="interrupted", cause=Cause.INTERRUPTED)
    svg = lanes_chart(SPAN, workers().workers, [execution(100, 60, "a.tif"), failed, back])
    assert bars(svg, "done") == ["a.tif, 60 s"]
    assert bars(svg, "failed") == ["b.tif, 60 s, exit 1"]
    assert bars(svg, "back") == ["c.tif, 60 s, interrupted"]


def test_lanes_stay_small_however_many_files_and_workers_there_are() -> None:
    report = workers(count=2 * LANES, slots=16)
    names = [account.beat.worker for account in report.workers]
    ran = [
        execution(number / 40_000 * 990, 0.3, f"f{number}", worker=names[number % len(names)])
        for number in range(40_000)
    ]
    assert len(bars(lanes_chart(SPAN, report.workers, ran))) < 3 * MAX_BARS


def test_a_file_counts_as_failed_once_however_often_it_was_tried() -> None:
    tries = [execution(at, final=at == 900, cause=Cause.COMMAND) for at in (100, 500, 900)]
    svg = finished_chart(SPAN, tries, workers().workers, (), Goal(3))
    [points] = re.findall(r'<polyline class="line failed" points="([^"]+)"', svg)
    levels = {point.split(",")[1] for point in points.split()}
    assert len(levels) == 2, "none at first, one at the end"


def test_an_interruption_is_marked_with_the_worker_and_the_reason() -> None:
    scene = Scene()
    scene.beat("i-1", WorkerState.LEFT, leaving=NOW - 60, reason="spot notice: terminate")
    report = report_on(scene)
    page = Page(finished_chart(SPAN, (), report.workers, report.interruptions, Goal(1)))
    assert "i-1: spot notice: terminate" in page.texts["title"]


@given(st.lists(st.floats(0, float(MAX_NUMBER)), min_size=1, max_size=50))
@example([5e-324, 9e18])
@example([1e18, 1e18 + 128])
def test_seconds_that_no_command_takes_break_no_chart(seconds: list[float]) -> None:
    assert all(low < high for low, high in pairwise(bin_edges(seconds)))
    assert "nan" not in histogram(seconds, min(seconds), max(seconds))


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=200))
def test_every_file_is_in_a_bin_of_the_histogram(seconds: list) -> None:
    edges = bin_edges(seconds)
    assert all(low < high for low, high in pairwise(edges))
    titles = bars(histogram(seconds, min(seconds), max(seconds)), "done")
    counts = [int(re.match(r"[\d,]+", title)[0].replace(",", "")) for title in titles]  # type: ignore[index]
    assert sum(counts) == len(seconds)


@given(st.floats(0.001, 1000), st.floats(0.001, 1000))
def test_the_labels_of_median_and_95_percent_never_meet(one: float, other: float) -> None:
    low, high = sorted((one, other))
    page = Page(histogram([low, high, high * 1.1], low, high))
    [first], [second] = (
        [float(a["y"] or 0) for (tag, a), text in zip(labels(page), page.texts["text"], strict=True)
         if text.startswith(name)]
        for name in ("median", "p95")
    )  # fmt: skip
    assert abs(first - second) > 11, "the size of their letters"


def labels(page: Page) -> list:
    return [(tag, attributes) for tag, attributes in page.tags if tag == "text"]


@given(st.integers(1, 10**9))
def test_the_levels_of_an_axis_are_few_round_and_within(most: int) -> None:
    levels = nice_levels(most)
    assert levels[0] == 0
    assert 2 <= len(levels) <= 7
    assert levels[-1] <= most


def test_a_run_of_which_nothing_is_known_has_no_time() -> None:
    assert span_of((), ()) is None


def test_a_round_time_has_no_part_of_nothing() -> None:
    times = [0, 30, 300, 3600, 5400, 86400]
    assert [round_duration(time) for time in times] == ["0s", "30s", "5m", "1h", "1h30m", "1d"]


def test_a_worker_is_counted_until_it_leaves_and_not_only_until_its_last_word() -> None:
    def heights(state: WorkerState) -> list[float]:
        scene = Scene()
        scene.beat("i-1", state, started=NOW - 900, seen=NOW - 20)
        svg = finished_chart(SPAN, (), report_on(scene).workers, (), Goal(1))
        [path] = re.findall(r'class="area workers" d="([^"]*)"', svg)
        return [float(height) for height in re.findall(r"V([\d.]+)", path)]

    none, one, end = heights(WorkerState.BUSY)
    assert one < none == end
    assert heights(WorkerState.LEFT) == [none, one, none, end]


def axis(svg: str) -> list[str]:
    """Return the labels of the axis of files, from below."""
    return re.findall(r'<text class="label" x="48"[^>]*>([^<]*)', svg)


@pytest.mark.parametrize("total", [1, 7, 100, 1234, 99_999])
def test_the_axis_of_files_ends_at_their_total(total: int) -> None:
    ran = [execution(100, 60), execution(200, 60)]
    labels = axis(finished_chart(SPAN, ran, workers().workers, (), Goal(total)))
    files = labels[:-2]  # the workers' axis has two
    assert files[-1] == f"{max(total, 2):,}"
    assert files == list(dict.fromkeys(files))


def test_a_line_leads_to_the_expected_end_of_a_run_that_goes_on() -> None:
    ran = [execution(100, 60), execution(900, 60)]
    goes_on = finished_chart(SPAN, ran, workers().workers, (), Goal(4, NOW + 1000))
    over = finished_chart(SPAN, ran, workers().workers, (), Goal(4))
    assert "about 16m left" in goes_on
    assert 'class="rule"' in goes_on
    assert 'class="rule"' not in over
    [points] = re.findall(r'<polyline class="line done" points="([^"]+)"', goes_on)
    last = float(points.split()[-1].split(",")[0])
    assert last == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=1), "now is half the way"


def test_an_end_that_is_far_off_leaves_the_past_a_third_of_the_picture() -> None:
    ran = [execution(100, 60)]
    svg = finished_chart(SPAN, ran, workers().workers, (), Goal(100_000, NOW + 10**6))
    [points] = re.findall(r'<polyline class="line done" points="([^"]+)"', svg)
    last = float(points.split()[-1].split(",")[0])
    assert last == pytest.approx(LEFT + (WIDTH - LEFT - RIGHT) / 3, abs=1)
