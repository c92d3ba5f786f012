"""The dashboard's pages: well-formed, harmless and self-contained, whatever names are in a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.watching.report_scene import Page, report_on
from tests.unit.watching.scene import NOW, Scene, failure, result
from tests.unit.watching.test_report_page import HOSTILE, busy_scene

from parallelize.dashboard import page
from parallelize.dashboard.page import LOG_CHARACTERS, Picture, draw
from parallelize.runs.state.catalog import Listed
from parallelize.runs.state.history import History
from parallelize.runs.state.status import RunState, worker_of
from parallelize.runs.state.view import as_json as status_json
from parallelize_core.errors import AccessError
from parallelize_core.heartbeat import WorkerState
from parallelize_core.keys import refusal
from parallelize_core.result import Attempt

NO_HISTORY = History({}, ())


def picture_of(scene: Scene, hint: str = "", history: History = NO_HISTORY) -> Picture:
    return draw(report_on(scene), history, hint)


def run_page(scene: Scene, hint: str = "") -> Page:
    return Page(page.run_page("scans", picture_of(scene, hint).main))


def listed(scene: Scene) -> Listed:
    snapshot = scene.snapshot()
    workers = tuple(worker_of(beat, NOW) for beat in snapshot.heartbeats)
    return Listed("scans", snapshot.run, workers)


def pages(scene: Scene, key: str = "a") -> dict[str, Page]:
    """Return one of each kind."""
    error = AccessError("the session has expired", f"profile {key}", "aws sso login")
    return {
        "run": run_page(scene, " --local"),
        "runs": Page(page.runs_page([listed(scene)], "s3://bucket/", NOW)),
        "no runs": Page(page.runs_page([], "s3://bucket/", NOW)),
        "log": Page(page.log_page("scans", key, [failure(key, log=f"{key}\n")], "")),
        "trouble": Page(page.trouble_page(error, "../")),
        "trouble of a run": Page(page.run_page("scans", page.trouble_main(error))),
    }


def waiting() -> Scene:
    scene = Scene()
    scene.prepare("a", "b")
    return scene


def running() -> Scene:
    scene = waiting()
    scene.beat("i-1", running=("a",), done=3)
    return scene


def drained() -> Scene:
    scene = waiting()
    for key in ("a", "b"):
        scene.finish(key)
    return scene


def failed() -> Scene:
    scene = drained()
    scene.fail("a")
    return scene


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (waiting, RunState.IDLE), (running, RunState.RUNNING), (drained, RunState.DRAINED),
        (failed, RunState.FAILED),
    ],
)  # fmt: skip
def test_a_run_has_a_page_in_each_state_with_the_figures_of_status(
    made: Callable[[], Scene], state: RunState
) -> None:
    scene = made()
    report = report_on(scene)
    assert report.status.state is state
    shown = run_page(scene)
    assert [shown.texts["b"][place] for place in range(3)] == [
        str(report.status.done), str(report.status.failed), str(report.status.left),
    ]  # fmt: skip
    assert (report.status.why or "") in shown.text
    [picture] = [a for tag, a in shown.tags if tag == "svg" and a.get("class") == "bar"]
    assert f"{report.status.failed} failed" in (picture["aria-label"] or "")


def test_the_bar_has_no_more_than_there_is() -> None:
    status = report_on(failed()).status
    for counts in ({"done": 1, "failed": 1}, {"done": 9, "failed": 9, "running": 9}, {"total": 0}):
        parts = page.bar(replace(status, **counts))
        assert sum(part.width for part in parts) <= 100
        assert [part.begin for part in parts] == sorted(part.begin for part in parts)


def test_workers_are_told_with_what_they_do_and_those_that_left_come_last() -> None:
    scene = waiting()
    scene.beat("i-0", WorkerState.LEFT, reason="spot notice")
    scene.beat("i-1", running=tuple("abcde"), seen=NOW - 7)
    rows = list(page.worker_rows(report_on(scene).status))
    assert [row.worker.id for row in rows] == ["i-1", "i-0"]
    assert (rows[0].now, rows[0].more, rows[0].seen) == (("a", "b", "c"), 2, "7s ago")
    assert rows[1].now == ("spot notice",)
    assert "euw1-az2" in run_page(scene).text


def test_how_fast_it_goes_and_what_it_costs_is_told() -> None:
    scene = busy_scene("a", "b")
    scene.prepare("c")
    scene.beat("i-2", done=10, hourly_usd=0.5)
    text = run_page(scene).text
    assert "files a minute; about" in text
    assert "a file" in text
    assert "more to finish" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_and_does_nothing(name: str) -> None:
    honest, hostile = pages(busy_scene("a", "b")), pages(busy_scene(name, f"x{name}"), name)
    for kind, shown in hostile.items():
        assert [tag for tag, _ in shown.tags] == [tag for tag, _ in honest[kind].tags]
        assert [sorted(a) for _, a in shown.tags] == [sorted(a) for _, a in honest[kind].tags]
        assert "\u202e" not in shown.html
    assert keys_that_logs_are_linked_for(hostile["run"]) == [f"x{name}"]


def keys_that_logs_are_linked_for(shown: Page) -> list[str]:
    links = [a["href"] or "" for tag, a in shown.tags if tag == "a"]
    return [parse_qs(urlsplit(link).query)["key"][0] for link in links if link.startswith("log?")]


@given(
    st.text(min_size=1, max_size=80).filter(lambda key: refusal(key) is None),
    st.text().map(lambda words: words.encode(errors="replace").decode()),
)
def test_no_key_and_no_last_words_break_a_page_or_a_link(key: str, words: str) -> None:
    scene = Scene()
    scene.prepare(key)
    scene.fail(key, stderr_tail=words, message=words)
    shown = run_page(scene)
    assert keys_that_logs_are_linked_for(shown) == [key]
    assert [tag for tag, _ in shown.tags].count("script") == 1
    Page(page.log_page("scans", key, [failure(key, log=words, message=words)], ""))


def test_nothing_is_loaded_from_elsewhere_and_nothing_can_be_changed() -> None:
    for kind, shown in pages(busy_scene("a", "b")).items():
        names = {tag for tag, _ in shown.tags}
        assert names.isdisjoint({"form", "button", "input", "iframe", "object", "img", "base"}), (
            kind
        )
        for tag, attributes in shown.tags:
            # A policy that allows no inline style or script would not let them do anything.
            assert "style" not in attributes, f"{kind}: {tag}"
            assert not any(name.startswith("on") for name in attributes)
            for link in (attributes.get("href"), attributes.get("src")):
                assert link is None or urlsplit(link)[:2] == ("", ""), f"{kind}: {link}"
                assert not (link or "").startswith("/"), "it would lose the token"
        assert "".join(shown.texts.get("script", [])).strip() == ""
        assert "style" not in names


def test_it_renews_itself_with_and_without_javascript() -> None:
    shown = run_page(running())
    assert re.search(r'<noscript><meta http-equiv="refresh" content="\d+"></noscript>', shown.html)
    assert ("script", {"src": "../live.js", "defer": None}) in shown.tags
    assert 'http-equiv="refresh"' in pages(running())["runs"].html
    ids = {attributes.get("id") for _, attributes in shown.tags}
    assert set(re.findall(r'getElementById\("(\w+)"\)', page.script())) <= ids


def test_it_follows_the_reader_in_light_and_dark() -> None:
    style = page.style()
    used = set(re.findall(r"var\((--[\w-]+)\)", style)) - {"--c", "--mono"}
    dark = style.partition("prefers-color-scheme: dark")[2].partition("* {")[0]
    assert used <= set(re.findall(r"(--[\w-]+):", dark))
    assert "url(" not in style
    assert "@import" not in style


def test_it_says_which_commands_change_something_for_this_run() -> None:
    text = run_page(failed(), " --run scans --local").text
    assert "This page changes nothing" in text
    for command in ("retry", "stop", "kill"):
        assert f"parallelize {command} --run scans --local" in text


def test_the_json_is_that_of_status_and_has_the_page() -> None:
    scene = failed()
    picture = draw(report_on(scene), NO_HISTORY, "", max_cost=5.0)
    document = json.loads(json.dumps(picture.document))
    assert document["schema"] == 1
    assert document["status"] == status_json(report_on(scene).status, 5.0)
    assert document["failures"] == [
        {"label": "exit 1", "words": '"ValueError: bad header"', "count": 1, "first": "a"}
    ]
    assert document["main"] == picture.main


def test_records_that_are_not_read_yet_or_never_are_admitted() -> None:
    soon = Page(picture_of(running(), history=History({}, (), unread=5)).main).text
    never = Page(picture_of(running(), history=History({}, (), too_many=True)).main).text
    assert "5 records not read yet" in soon
    assert "too large to draw here" in never


def test_a_run_is_over_when_all_is_done_and_read_and_nobody_is_left() -> None:
    assert not picture_of(running()).over
    scene = drained()
    scene.beat("i-1", WorkerState.DRAINING)
    assert not picture_of(scene).over
    scene.beat("i-1", WorkerState.LEFT)
    assert not picture_of(scene, history=History({}, (), unread=1)).over
    assert picture_of(scene).over


def test_of_a_long_log_the_end_is_shown_and_the_rest_admitted() -> None:
    record = failure("a", log="begin\n" + "x" * LOG_CHARACTERS + "\nend\n")
    shown = Page(page.log_page("scans", "a", [record], " --local"))
    assert "begin" not in shown.text
    assert "end" in shown.text
    assert "characters at the start not shown" in shown.text
    assert "parallelize logs a --local" in shown.text


def test_every_attempt_is_told_with_its_worker_and_how_it_ended() -> None:
    records = [
        Attempt.model_validate(failure("a").model_dump() | {"attempt": 1, "worker": "i-8"}),
        result("a", worker="i-9", attempt=2),
    ]
    text = Page(page.log_page("scans", "a", records, "")).text
    assert [f"Attempt {number}" in text for number in (1, 2, 3)] == [True, True, False]
    assert all(
        told in text for told in ("i-8", "exit 1", "i-9", "done", "The command printed nothing")
    )


def test_the_list_of_runs_leads_to_each_and_says_who_works_on_it() -> None:
    scene = running()
    scene.describe(paused="too much\nhas failed")
    shown = Page(page.runs_page([listed(scene), Listed("next", None)], "s3://bucket/", NOW))
    assert [a["href"] for tag, a in shown.tags if tag == "a"] == ["scans/", "next/"]
    assert all(told in shown.text for told in ("paused", "incomplete", r"too much\nhas failed"))
