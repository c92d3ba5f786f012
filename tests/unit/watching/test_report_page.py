"""The page: one file, whole without network and without JavaScript, whatever names are in it."""

from __future__ import annotations

import html
import json
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.watching.report_scene import Page, at, machine, report_on
from tests.unit.watching.scene import NOW, Scene, failure

from parallelize.cli import make_app
from parallelize.report.data import Report
from parallelize.report.export import as_json
from parallelize.report.page import PLAIN_ROWS, log_uri, render
from parallelize.report.table import columns
from parallelize.runs.state.view import as_json as status_json
from parallelize.units import show_usd
from parallelize_core.heartbeat import WorkerState
from parallelize_core.keys import refusal

HOSTILE = [
    "</script><script>alert(1)</script>.tif",
    "\"onmouseover='alert(1)'.tif",
    "<!--.tif",
    "&lt;b&gt;&amp;.tif",
    "photo\u202egpj.exe",
    "{{ 7 * 7 }}{% raw %}.tif",
]


def busy_scene(*keys: str) -> Scene:
    """Return a run with every kind of record, each of `keys` done or failed in turn."""
    scene = Scene()
    scene.prepare(*keys)
    for number, key in enumerate(keys):
        changes = {"started_at": at(500), "finished_at": at(400 - number), "exit_code": 0,
                   "usage": {"seconds": 2 + number, "cpu_seconds": 1}, "worker": "i-1"}  # fmt: skip
        if number % 2:
            scene.fail(key, **changes | {"exit_code": 1, "stderr_tail": f"bad {key}\n"})
        else:
            scene.finish(key, **changes)
    scene.beat("i-1", WorkerState.LEFT, leaving=NOW - 20, hourly_usd=0.1,
               reason="spot notice: </title>", peaks={
        "cpus": 4, "cpu": 0.2, "memory_bytes": 1, "memory_total_bytes": 10, "disk_bytes": 1,
        "disk_total_bytes": 10})  # fmt: skip
    return scene


def busy_report(*keys: str) -> Report:
    return report_on(busy_scene(*keys), machines={"i-1": machine("i-1")},
                     on_demand={"c7i.xlarge": 0.2})  # fmt: skip


def file_names(page: Page) -> list[str]:
    """Return what the table of all files shows without JavaScript."""
    table = page.html.partition('<table id="files">')[2].partition("</table>")[0]
    return [html.unescape(name) for name in re.findall('<td class="name">([^<]*)', table)]


def raw_names(page: Page) -> set[str]:
    """Return the inputs' own names, which the table of the page has or makes harmless."""
    names = page.files["names"]
    return {page.files["raw"].get(str(place), name) for place, name in enumerate(names)}


def test_a_page_is_well_formed_and_has_every_part() -> None:
    page = Page(render(busy_report("a", "b", "c")))
    ids = {attributes.get("id") for _, attributes in page.tags}
    parts = {"time", "lanes", "seconds", "machines", "failures", "all", "provenance"}
    assert parts <= ids
    assert {a["href"] for tag, a in page.tags if tag == "a"} == {f"#{part}" for part in parts}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_and_does_nothing(name: str) -> None:
    honest, page = Page(render(busy_report("a", "b"))), Page(render(busy_report(name, f"x{name}")))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in honest.tags]
    assert [sorted(a) for _, a in page.tags] == [sorted(a) for _, a in honest.tags]
    assert "\u202e" not in page.html
    assert raw_names(page) == {name, f"x{name}"}


@given(st.text(min_size=1, max_size=80).filter(lambda key: refusal(key) is None), st.text())
def test_no_key_and_no_last_words_break_the_page(key: str, words: str) -> None:
    scene = Scene()
    scene.prepare(key)
    scene.fail(key, stderr_tail=words, message=words)
    page = Page(render(report_on(scene)))
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert raw_names(page) == {key}
    assert page.data["failures"][0]["stderr_tail"] == words


def test_nothing_is_loaded_and_nothing_can_be() -> None:
    page = Page(render(busy_report("a", "b")))
    for tag, attributes in page.tags:
        assert not {"src", "srcset", "action", "data", "background"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert tag_names(page).isdisjoint({"iframe", "object", "embed", "img", "link", "base"})
    assert "url(" not in page.html
    assert "@import" not in page.html
    [policy] = [a["content"] for tag, a in page.tags if "http-equiv" in a]
    assert "default-src 'none'" in (policy or "")


def tag_names(page: Page) -> set[str]:
    return {tag for tag, _ in page.tags}


def test_it_follows_the_reader_in_light_and_dark_and_can_be_printed() -> None:
    text = render(busy_report("a"))
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    used = set(re.findall(r"var\((--[\w-]+)\)", text)) - {"--c"}
    dark = text.partition("prefers-color-scheme: dark")[2].partition("* {")[0]
    assert used - {"--mono"} <= set(re.findall(r"(--[\w-]+):", dark))


def test_the_table_needs_no_javascript_and_begins_with_the_failures() -> None:
    names = file_names(Page(render(busy_report("a", "b", "c", "d"))))
    assert names == ["b", "d", "a", "c"]


def test_without_javascript_a_long_table_is_cut_at_its_end_and_says_so() -> None:
    keys = [f"f{number:05}" for number in range(PLAIN_ROWS + 2)]
    scene = Scene()
    scene.prepare(*keys)
    scene.fail(keys[-1])
    page = Page(render(report_on(scene), " --local"))
    names = file_names(page)
    assert len(names) == PLAIN_ROWS
    assert names[0] == keys[-1]
    assert f"only the first {PLAIN_ROWS}" in page.text
    assert set(page.files["names"]) == set(keys)


def test_failures_come_before_the_pictures() -> None:
    ids = [a["id"] for tag, a in Page(render(busy_report("a", "b"))).tags if tag == "section"]
    assert ids.index("failures") == 0


def test_the_json_in_the_page_is_that_of_the_command_line_but_for_the_files() -> None:
    report = busy_report("a", "b")
    page = Page(render(report))
    inside = page.data
    assert inside.pop("failures_left_out") == 0
    outside = json.loads(json.dumps(as_json(report)))
    assert [file["key"] for file in outside.pop("files")] == page.files["names"]
    assert inside == outside
    assert page.files == json.loads(json.dumps(columns(report)))


def test_the_verdict_has_the_figures_of_status() -> None:
    report = busy_report("a", "b", "c")
    said, page = status_json(report.status), Page(render(report))
    assert [page.texts["b"][place] for place in range(3)] == [
        str(said["done"]), str(said["failed"]), "0",
    ]  # fmt: skip
    assert "all terminated (verified)" in page.text
    assert show_usd(said["cost_usd"]["estimate"])[:5] in page.text
    assert "at on-demand prices" in page.text


def test_without_prices_there_is_no_word_of_show_usd() -> None:
    page = Page(render(report_on(busy_scene("a", "b"), emulated=True)))
    assert "$" not in page.text
    assert "cost" not in page.text
    assert "EC2 is emulated" in page.text


def test_a_run_in_mid_way_says_so_and_why_it_does_not_get_on() -> None:
    scene = Scene()
    scene.prepare("a", "b")
    scene.finish("a")
    scene.beat("i-1", running=("b",))
    machines = {"i-1": machine("i-1", "running")}
    text = Page(render(report_on(scene, machines=machines))).text
    assert "Still running" in text
    assert "1 active" in text
    scene.describe(paused="the first 20 files have all failed")
    assert "the run is paused" in Page(render(report_on(scene))).text


def test_a_run_without_any_result_is_an_honest_page() -> None:
    scene = Scene()
    scene.prepare("a")
    page = Page(render(report_on(scene)))
    assert "No results yet" in page.text
    assert "svg" not in tag_names(page)
    assert file_names(page) == ["a"]


def test_machines_that_are_still_there_are_told_even_after_the_last_file() -> None:
    report = report_on(busy_scene("a"), machines={"i-1": machine("i-1", "running")})
    assert "1 machine still there" in Page(render(report)).text


def test_a_worker_of_an_older_agent_has_no_peaks_to_show() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.beat("i-1")
    assert "not recorded" in Page(render(report_on(scene))).text


def test_what_each_failure_proposes_can_be_pasted() -> None:
    page = Page(render(busy_report("a", "b's file.tif"), " --run scans"))
    commands = [text for text in page.texts["code"] if text.startswith("parallelize")]
    assert len(commands) == 2
    for command in commands:
        _, *words = shlex.split(command)
        make_app().parse_args(words, exit_on_error=False, print_error=False)


def test_the_last_lines_of_a_failure_keep_their_lines_and_indents() -> None:
    scene = Scene()
    scene.prepare("a")
    scene.fail("a", stderr_tail="Traceback\n\tline 3\n\x1b[31mValueError\x1b[0m\n")
    [block] = Page(render(report_on(scene))).texts["pre"]
    assert block.splitlines() == ["Traceback", "        line 3", r"\x1b[31mValueError\x1b[0m"]


def test_the_log_of_a_failure_is_in_its_own_object_or_in_the_result() -> None:
    layout = Scene().layout
    assert log_uri(layout, failure("a", log_key="runs/scans/log/a/3.i-1.log")) == (
        "s3://bucket/runs/scans/log/a/3.i-1.log"
    )
    assert log_uri(layout, failure("a")) == f"s3://bucket/{layout.result('a')}"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(1234.5, "$1,234.50"), (0.01, "$0.01"), (0.00038, "$0.00038"), (0, "$0.00")],
)
def test_money_has_the_digits_that_count(amount: float, shown: str) -> None:
    assert show_usd(amount) == shown


def test_the_gpus_of_machines_have_a_column_where_there_are_any() -> None:
    scene = busy_scene("a")
    assert "<th>GPUs</th>" not in render(report_on(scene))
    gpu = {"uuid": "GPU-1", "memory_bytes": 3 * 2**30, "memory_total_bytes": 2**34, "busy": 0.42}
    scene.beat("i-2", gpus=[gpu])
    assert "1, 42% busy" in render(report_on(scene))
