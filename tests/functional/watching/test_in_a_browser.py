"""The pages in a real browser: the table of all files, and that nothing sticks out."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from tests.functional.watching.browser import dump, evaluate, needs_a_browser
from tests.functional.watching.test_dashboard import serve, site_over
from tests.unit.watching.report_scene import at, report_on
from tests.unit.watching.scene import Scene
from tests.unit.watching.test_report_page import HOSTILE, busy_report

from parallelize.report.page import render
from parallelize.report.svg import show_seconds
from parallelize.units import show_size

pytestmark = needs_a_browser()

WIDTHS = (390, 800, 1280)
"""Of a phone, a tablet and a desk."""

TABLE = """
const root = document.getElementById("files-table");
const names = () => [...root.querySelectorAll("tbody td.name")].map(cell => cell.textContent);
const said = () => root.querySelector("output").textContent;
const field = name => root.querySelector(`[name=${name}]`);
const enter = (name, value) => {
  field(name).value = value;
  field(name).dispatchEvent(new Event(name === "words" ? "input" : "change"));
};
const head = text => [...root.querySelectorAll("th")].find(th => th.textContent === text);
"""


def run_of(count: int) -> str:
    return render(busy_report(*(f"f{number:05}" for number in range(count))))


def test_only_what_is_in_sight_is_in_the_page_and_the_rest_comes_by_scrolling(
    tmp_path: Path,
) -> None:
    first, count, last = evaluate(
        run_of(1000),
        TABLE
        + """
        const box = root.querySelector(".rows"), [first] = names(), count = names().length;
        box.scrollTop = box.scrollHeight;
        box.dispatchEvent(new Event("scroll"));
        return [first, count, names().at(-1)];""",
        tmp_path,
    )
    assert (first, last) == ("f00001", "f00998")
    assert count < 150


def test_files_are_found_by_a_part_of_the_name_and_by_state_worker_and_reason(
    tmp_path: Path,
) -> None:
    found = evaluate(
        run_of(40),
        TABLE
        + """
        const seen = [];
        enter("words", "F0001"); seen.push([said(), names()[0]]);
        enter("state", "1"); seen.push([said(), names()[0]]);
        enter("words", ""); seen.push([said(), names()[0]]);
        enter("state", ""); enter("reason", "0"); seen.push([said(), names()[0]]);
        enter("worker", "0"); seen.push([said(), names()[0]]);
        enter("words", "nowhere"); seen.push([said(), names()[0] ?? null]);
        return seen;""",
        tmp_path,
    )
    assert found == [
        ["10 of 40 files", "f00011"], ["5 of 40 files", "f00010"], ["20 of 40 files", "f00000"],
        ["20 of 40 files", "f00001"], ["20 of 40 files", "f00001"], ["0 of 40 files", None],
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "said"), [(1, "1 file"), (2, "2 files")])
def test_the_files_are_counted_as_in_english(count: int, said: str, tmp_path: Path) -> None:
    assert evaluate(run_of(count), f"{TABLE} return said();", tmp_path) == said


def test_a_column_is_sorted_by_its_button_which_says_so(tmp_path: Path) -> None:
    found = evaluate(
        run_of(12),
        TABLE
        + """
        const seen = [], press = text => {
          const by = head(text); by.querySelector("button").click();
          seen.push([by.getAttribute("aria-sort"), names()[0], names().at(-1)]);
        };
        press("time"); press("time"); press("file");
        return [...seen, root.querySelectorAll("[aria-sort]").length];""",
        tmp_path,
    )
    assert found == [
        ["ascending", "f00000", "f00011"], ["descending", "f00011", "f00000"],
        ["ascending", "f00000", "f00011"], 1,
    ]  # fmt: skip


def test_what_is_not_known_comes_last_whichever_way(tmp_path: Path) -> None:
    scene = Scene()
    scene.prepare("waits", "a", "b")
    for key, seconds in (("a", 1), ("b", 2)):
        scene.finish(key, exit_code=0, usage={"seconds": seconds})
    found = evaluate(
        render(report_on(scene)),
        TABLE
        + """
        const button = head("time").querySelector("button"), seen = [];
        for (const _ of [1, 2]) { button.click(); seen.push(names()); }
        return seen;""",
        tmp_path,
    )
    assert found == [["a", "b", "waits"], ["b", "a", "waits"]]


def test_hostile_names_are_shown_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    names, bold = evaluate(
        render(busy_report(*HOSTILE)),
        TABLE + "return [names(), root.querySelectorAll('tbody b, tbody script').length];",
        tmp_path,
    )
    assert bold == 0
    assert {name.replace("\\u202e", "\u202e") for name in names} == {*HOSTILE}


def test_sizes_and_times_are_written_as_everywhere_else(tmp_path: Path) -> None:
    chance = random.Random(1)
    sizes = [0, 1, 2, 1023, 1024, 1536, *(int(1024 ** chance.uniform(0, 4.9)) for _ in range(300))]
    times = [0.0, 0.05, 0.1, 1, 9.94, 10, 99, 100, 600, 3600, 86400,
             *(10 ** chance.uniform(-3, 6) for _ in range(300))]  # fmt: skip
    found = evaluate(run_of(2), f"return [{sizes}.map(size), {times}.map(time)];", tmp_path)
    assert found[0] == [show_size(size) for size in sizes]
    # A half is rounded to even there, and up here.
    unlike = [pair for pair in zip(found[1], map(show_seconds, times), strict=True)
              if pair[0] != pair[1]]  # fmt: skip
    assert unlike == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_has_to_be_scrolled_sideways(tmp_path: Path, width: int, dark: bool) -> None:
    long = "a-folder-with-a-name/" * 9 + "and-a-file-of-which-nobody-knows-where-it-ends.tif"
    wide, dark_now = evaluate(
        render(busy_report("a", "b", long, f"x{long}")),
        "return [document.documentElement.scrollWidth - innerWidth,"
        "matchMedia('(prefers-color-scheme: dark)').matches];",
        tmp_path, width, dark=dark,
    )  # fmt: skip
    assert wide <= 0
    assert dark_now == dark


def test_a_reason_has_room_on_a_desk_and_the_state_of_a_file_on_a_phone(tmp_path: Path) -> None:
    page = render(busy_report("a", "b"))
    cut, *_ = evaluate(
        page,
        "return [...document.querySelectorAll('#files td.because')]"
        ".map(cell => cell.scrollWidth - cell.clientWidth);",
        tmp_path, 1280,
    )  # fmt: skip
    assert cut <= 0
    state = "document.querySelector('#files td.because').parentElement.cells[1]"
    room = evaluate(
        page, f"return innerWidth - {state}.getBoundingClientRect().right;", tmp_path, 390
    )
    assert room > 0


def test_files_of_one_deep_folder_can_be_told_apart(tmp_path: Path) -> None:
    deep = "a-folder-with-a-name/" * 9
    seen = evaluate(
        render(busy_report(f"{deep}a.tif", f"{deep}b.tif")),
        TABLE
        + """
        const edge = root.querySelector(".rows").getBoundingClientRect().right;
        return [...root.querySelectorAll("tbody .ends span:last-child")].map(end => {
          const at = end.getBoundingClientRect();
          return end.textContent.slice(-5) + (at.width && at.right < edge ? " seen" : " hidden");
        });""",
        tmp_path, 390,
    )  # fmt: skip
    assert sorted(seen) == ["a.tif seen", "b.tif seen"]


def test_a_worker_takes_a_few_lines_whatever_its_files_are_called(tmp_path: Path) -> None:
    for browser in serve(site_over(going_on().store)):
        page = browser.get("scans/").body
        style = f"<style>{browser.get('style.css').body}</style>"
    tallest = evaluate(
        page.replace("</head>", f"{style}</head>"),
        "return Math.max(...[...document.querySelectorAll('#workers tbody tr')]"
        ".map(row => row.offsetHeight));",
        tmp_path, 390,
    )  # fmt: skip
    assert tallest < 120


def going_on() -> Scene:
    """Return a run in mid-way with names as long as they get."""
    scene = Scene()
    long = "a-folder-with-a-name/" * 9
    names = [f"{long}file-{number:03}.tif" for number in range(60)]
    scene.prepare(*names)
    for number, name in enumerate(names[:20]):
        times = {"started_at": at(500 - 20 * number), "finished_at": at(480 - 20 * number)}
        if number % 7:
            scene.finish(name, exit_code=0, usage={"seconds": 15 + number}, **times)
        else:
            scene.fail(name, **times)
    for number in range(3):
        running = tuple(names[20 + 4 * number : 24 + 4 * number])
        scene.beat(f"i-{number:017}", running=running, done=6 - number // 2, failed=1,
                   rate=0.02, hourly_usd=0.2)  # fmt: skip
    return scene


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", ["", "scans/", "scans/files"])
def test_no_page_of_the_dashboard_has_to_be_scrolled_sideways(
    tmp_path: Path, path: str, width: int, dark: bool
) -> None:
    for browser in serve(site_over(going_on().store)):
        page = browser.get(path).body
        style = f"<style>{browser.get('style.css').body}</style>"
    wide = evaluate(
        page.replace("</head>", f"{style}</head>"),
        "return document.documentElement.scrollWidth - innerWidth;",
        tmp_path, width, dark=dark,
    )  # fmt: skip
    assert wide <= 0


def test_the_dashboard_has_the_table_too_and_a_name_leads_to_its_logs() -> None:
    scene = Scene()
    scene.prepare("a b.txt", "c&d.txt")
    scene.finish("a b.txt")
    scene.fail("c&d.txt")
    for browser in serve(site_over(scene.store)):
        page = dump(f"{browser.server.url}scans/files")
    assert re.findall(r'<a href="([^"]*)">([^<]*)</a></td>', page) == [
        ("log?key=c%26d.txt", "c&amp;d.txt"), ("log?key=a%20b.txt", "a b.txt"),
    ]  # fmt: skip
