"""Files that succeeded but produced no output are told, with what their commands left instead."""

from __future__ import annotations

import pytest
from tests.unit.watching.report_scene import Page, report_on
from tests.unit.watching.scene import LAYOUT, Scene, result

from parallelize.report import export
from parallelize.report.page import render
from parallelize.runs.results.silent import among, find_silent
from parallelize.runs.state.ending import end_lines
from parallelize.runs.state.status import RunStatus, status_of
from parallelize.runs.state.view import as_json, changes, log_line, page
from parallelize_core.result import Output
from parallelize_core.run import Limits, Run

MADE = {"left_behind": ("made.txt",), "left_behind_count": 1}
OUTPUT = Output(key="x", size=1, sha256="s", etag="e")


class Doubtful(Scene):
    """A run of which nobody has said whether there need be outputs."""

    doubted = True

    def describe(self, paused: str = "") -> None:
        super().describe(paused)
        limits = Limits(halt_if_silent=self.doubted)
        self.store.put(LAYOUT.run_json, self.run.model_copy(update={"limits": limits}).encode())

    @property
    def run(self) -> Run:
        return Run.decode(self.store.get(LAYOUT.run_json))

    def finish_silently(self, key: str, **changes: object) -> None:
        self.store.put(LAYOUT.silence(key), b"")
        self.finish(key, **changes)

    def status(self) -> RunStatus:
        return status_of(self.snapshot())


@pytest.fixture
def scene() -> Doubtful:
    made = Doubtful()
    made.prepare("a.txt", "b.txt", "c.txt")
    return made


def test_status_tells_how_many_they_are_and_what_was_left(scene: Doubtful) -> None:
    scene.finish_silently("a.txt", **MADE)
    scene.finish_silently("b.txt")
    scene.finish("c.txt", outputs=(OUTPUT,))
    told = "\n".join(page(scene.status()))
    assert "2 files succeeded but produced no output: a.txt and 1 more" in told
    assert "made.txt was left in the scratch folder and not delivered" in told
    assert max(map(len, told.splitlines())) <= 80
    assert as_json(scene.status())["without_output"] == 2
    assert "2 without output" in log_line(scene.status())


def test_a_name_that_was_printed_and_leads_nowhere_is_told(scene: Doubtful) -> None:
    scene.finish_silently("a.txt", leads_nowhere=("out/a.csv",))
    assert "out/a.csv was printed, but there is no such file" in "\n".join(page(scene.status()))


def test_of_a_command_that_left_nothing_it_is_asked_whether_it_printed_a_name(
    scene: Doubtful,
) -> None:
    scene.finish_silently("a.txt")
    told = "\n".join(page(scene.status()))
    assert "1 file succeeded but produced no output: a.txt\n" in told
    assert "did the script print the file's name?" in told


def test_a_mark_alone_says_nothing(scene: Doubtful) -> None:
    scene.store.put(LAYOUT.silence("a.txt"), b"")  # its result is still to come
    scene.store.put(LAYOUT.silence("b.txt"), b"")
    scene.fail("b.txt")
    scene.finish_silently("c.txt", outputs=(OUTPUT,))  # another execution has made one
    assert scene.status().silent.count == 0
    assert find_silent(scene.store, LAYOUT, scene.run).count == 0
    assert "no output" not in "\n".join(page(scene.status()))


def test_a_run_that_needs_no_outputs_has_none(scene: Doubtful) -> None:
    scene.finish_silently("a.txt")
    scene.doubted = False
    scene.describe()
    assert scene.status().silent.count == 0
    assert find_silent(scene.store, LAYOUT, scene.run).count == 0
    assert among(scene.run, [result("a.txt")]).count == 0


def test_of_many_only_a_few_results_are_read() -> None:
    scene = Doubtful()
    names = [f"f{n:03}" for n in range(100)]
    scene.prepare(*names)
    for name in names:
        scene.finish_silently(name)
    silent = scene.status().silent
    assert (silent.count, len(silent.examples)) == (100, 20)


def test_a_file_whose_name_is_too_long_for_its_mark_is_found(scene: Doubtful) -> None:
    name = "long/" * 190 + "name.txt"
    scene.prepare(name)
    scene.finish_silently(name)
    assert [one.key for one in scene.status().silent.examples] == [name]


def test_a_log_tells_of_the_first_and_not_of_each(scene: Doubtful) -> None:
    before = scene.status()
    scene.finish_silently("a.txt", **MADE)
    one = scene.status()
    scene.finish_silently("b.txt")
    assert [line for line in changes(before, one) if "no output" in line]
    assert not [line for line in changes(one, scene.status()) if "no output" in line]


def test_the_end_of_a_run_says_how_to_mean_it_and_how_to_do_them_once_more(
    scene: Doubtful,
) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        scene.finish_silently(name, **MADE)
    told = "\n".join(end_lines(scene.status(), (), 0, " --local"))
    assert "3 files succeeded but produced no output: a.txt and 2 more" in told
    assert 'output.collect = "**/*.txt"' in told
    assert "run.require_output = false" in told
    assert "parallelize retry --silent --local" in told


def test_the_report_does_not_call_them_a_full_success(scene: Doubtful) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        scene.finish_silently(name, **MADE)
    page = Page(render(report_on(scene)))
    assert "Every file has succeeded" not in page.text
    assert "3 files succeeded but produced no output: a.txt and 2 more" in page.text
    assert "made.txt was left in the scratch folder" in page.text
    assert export.as_json(report_on(scene))["without_output"] == 3


def test_what_a_record_says_was_left_cannot_steer_a_terminal(scene: Doubtful) -> None:
    scene.finish_silently("a.txt", left_behind=("\x1b[2Jx.\x1b[1m", "y\n"), left_behind_count=2)
    told = end_lines(scene.status(), (), 0, "")
    assert all(line.isprintable() for line in told)
