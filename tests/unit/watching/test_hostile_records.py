"""Those who may write to the bucket may have written anything: what is shown of a run bears it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.watching.report_scene import gathered
from tests.unit.watching.scene import LAYOUT, NOW, Scene, failure, heartbeat, result

from parallelize.console import answer, answer_json, say
from parallelize.dashboard.page import draw
from parallelize.report.data import make_report
from parallelize.report.export import as_json as report_json
from parallelize.report.page import render
from parallelize.runs.results import failed
from parallelize.runs.results.results import failed_results
from parallelize.runs.state import catalog, view
from parallelize.runs.state.attempts import read_records, report
from parallelize.runs.state.catalog import Catalog
from parallelize.runs.state.catalog import as_json as runs_json
from parallelize.runs.state.history import HistoryReader
from parallelize.runs.state.status import status_of
from parallelize_core.errors import DecodeError, ParallelizeError
from parallelize_core.manifest import Cursor
from parallelize_core.run import Run

STEERING = "\x1b[2J\x9b31m\u202e\x00\x7f\u2028\r\b"

NUMBERS = [
    "NaN", "Infinity", "-Infinity", "1e400", "9" * 400, "9" * 5000, "-" + "9" * 400,
    "1e300", "253402300800", "32503680000", "9223372036854775807", "-1", "-1e18", "5e-324", "0",
]  # fmt: skip
"""As they may stand in JSON, or in what some programs take for it."""

TEXTS = [
    STEERING, "", "\ud800", "🙂" * 300, "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "<script>alert(1)</script>", "../../etc/passwd", "[bold red]", "{0}%s", "a\nb",
]  # fmt: skip

RAW = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS).map(json.dumps),
    st.text().map(json.dumps),
    st.sampled_from(["null", "true", "[]", "{}", "[[[]]]", '[""]', '["\\u001b"]']),
)
"""What may stand for a value."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where in a record there are values."""
    inner: list[Any] = []
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    found = [path] if path else []
    return found + [place for name, one in inner for place in places(one, (*path, name))]


def spoiled(body: bytes, changes: Mapping[int, str]) -> bytes:
    """Return a record with other values in some places."""
    document = json.loads(body)
    every = places(document)
    marks = {}
    for number, raw in changes.items():
        mark = f"@{number}@"
        marks[f'"{mark}"'] = raw
        *way, last = every[number % len(every)]
        target = document
        for name in way:
            target = target[name]
            if not isinstance(target, dict | list):
                break  # a value above it is another by now
        else:
            target[last] = mark
    text = json.dumps(document)
    return re.sub(r'"@\d+@"', lambda found: marks[found[0]], text).encode()


CHANGES = st.dictionaries(st.integers(0, 60), RAW, min_size=1, max_size=3)


def full_scene() -> Scene:
    scene = Scene()
    scene.prepare("a.tif", "b.tif", "c.tif")
    scene.fail("a.tif", log="words\n", usage={"seconds": 1, "peak_memory_bytes": 5})
    outputs = [{"key": "b.csv", "size": 1, "sha256": "0", "etag": "e"}]
    scene.finish("b.tif", usage={"seconds": 2.5}, outputs=outputs, input_size=5, input_etag="e")
    scene.attempt("b.tif", 1, log="first\n")
    peaks = {"cpus": 4, "cpu": 0.5, "memory_bytes": 1, "memory_total_bytes": 2,
             "disk_bytes": 1, "disk_total_bytes": 2}  # fmt: skip
    scene.beat("i-1", hourly_usd=0.1, max_cost_usd=5, running=["c.tif"], peaks=peaks, done=1)
    scene.beat("i-2", state="left", reason="spot notice", leaving=NOW - 50, hourly_usd=0.2)
    return scene


RECORDS = {
    "run": LAYOUT.run_json,
    "failure": LAYOUT.result("a.tif"),
    "success": LAYOUT.result("b.tif"),
    "attempt": LAYOUT.attempt("b.tif", 1, "i-1", failure("b.tif").started_at),
    "heartbeat": LAYOUT.heartbeat("i-1"),
    "last words": LAYOUT.heartbeat("i-2"),
    "cursor": LAYOUT.cursor(0),
}


def show_everything(scene: Scene) -> None:
    """Print what the commands print, as far as they do not end in words."""
    shown: list[Callable[[], None]] = [
        lambda: _show_status(scene), lambda: _show_files(scene), lambda: _show_report(scene),
        lambda: _show_dashboard(scene), lambda: _show_runs(scene),
    ]  # fmt: skip
    for show in shown:
        try:
            show()
        except ParallelizeError as error:
            say(str(error))


def _show_status(scene: Scene) -> None:
    status = status_of(scene.snapshot())
    for line in (*view.page(status), view.log_line(status), *view.changes(None, status)):
        answer(line)
    answer_json(view.as_json(status, 5.0))


def _show_files(scene: Scene) -> None:
    for name in ("a.tif", "b.tif"):
        for record in read_records(scene.store, LAYOUT, name):
            answer_json(record.model_dump(mode="json"))
            for line in report(record):
                answer(line)
    found = failed_results(scene.store, LAYOUT)
    answer_json([failed.as_json(one) for one in found])
    for line in (*failed.listing(found), *failed.summary(found)):
        answer(line)


def _show_report(scene: Scene) -> None:
    made = make_report(gathered(scene, on_demand={"c7i.xlarge": 0.5}))
    answer_json(report_json(made))
    assert render(made, "").startswith("<!doctype html>")


def _show_dashboard(scene: Scene) -> None:
    history = HistoryReader(scene.store, LAYOUT).read(scene.snapshot())
    made = make_report(gathered(scene, results=history.results, attempts=history.attempts))
    json.dumps(draw(made, history, "", 5.0).document, allow_nan=False)


def _show_runs(scene: Scene) -> None:
    found = Catalog(scene.store, LAYOUT.base, clock=lambda: NOW).runs()
    answer_json(runs_json(found))
    for line in catalog.listing(found, NOW):
        answer(line)


def check_printed(printed: str) -> None:
    assert re.search(r"[^\n -~]", printed) is None or not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", printed
    )


@pytest.mark.parametrize("kind", RECORDS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES)
@example(changes={0: "NaN", 1: json.dumps(STEERING)})
def test_no_record_breaks_what_is_shown_or_steers_the_terminal(
    kind: str, changes: dict[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    scene = full_scene()
    place = RECORDS[kind]
    scene.store.put(place, spoiled(scene.store.get(place), changes))
    show_everything(scene)
    said = capsys.readouterr()
    check_printed(said.out)
    check_printed(said.err)


@pytest.mark.parametrize("raw", NUMBERS + [json.dumps(text) for text in TEXTS])
@pytest.mark.parametrize("kind", RECORDS)
def test_no_value_in_any_place_of_a_record_breaks_what_is_shown(
    kind: str, raw: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = RECORDS[kind]
    whole = full_scene().store.get(place)
    for number in range(len(places(json.loads(whole)))):
        scene = full_scene()
        scene.store.put(place, spoiled(whole, {number: raw}))
        show_everything(scene)
    said = capsys.readouterr()
    check_printed(said.out)
    check_printed(said.err)


@pytest.mark.parametrize("body", [b"", b"\xff", b"null", b"[" * 100_000, b"NaN", b"{}"])
@pytest.mark.parametrize("kind", RECORDS)
def test_no_garbage_in_place_of_a_record_breaks_what_is_shown(
    kind: str, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = full_scene()
    scene.store.put(RECORDS[kind], body)
    show_everything(scene)
    check_printed(capsys.readouterr().out)


def test_a_result_that_cannot_be_read_is_a_failure_that_hides_no_other() -> None:
    scene = full_scene()
    scene.fail("c.tif")
    scene.store.put(LAYOUT.result("a.tif"), b"{}")
    found = {one.key: one for one in failed_results(scene.store, LAYOUT)}
    assert found.keys() == {"a.tif", "c.tif"}
    assert found["a.tif"].message.startswith("its result cannot be read: ")


def test_a_result_cannot_pass_for_that_of_another_file() -> None:
    scene = full_scene()
    scene.store.put(LAYOUT.result("a.tif"), failure("b.tif").encode())
    assert [one.key for one in failed_results(scene.store, LAYOUT)] == ["a.tif"]


def test_a_heartbeat_of_nonsense_does_not_keep_the_others_from_being_told() -> None:
    scene = full_scene()
    body = heartbeat("i-1").encode().replace(b"30.0", b"NaN")
    scene.store.put(LAYOUT.heartbeat("i-1"), body)
    assert [beat.worker for beat in scene.snapshot().heartbeats] == ["i-2"]


def test_a_record_that_cannot_be_read_is_named() -> None:
    scene = full_scene()
    scene.store.put(LAYOUT.cursor(0), b'{"sent": -1}')
    with pytest.raises(DecodeError, match=f"s3://bucket/{LAYOUT.cursor(0)}"):
        scene.snapshot()


@pytest.mark.parametrize("raw", ["NaN", "1e400", "9" * 400, "-" + "9" * 30])
@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        (type(heartbeat("w")), heartbeat("w").encode(), "interval_seconds"),
        (type(result("a")), result("a").encode(), "input_size"),
        (Cursor, Cursor(sent=1).encode(), "sent"),
    ],
    ids=["heartbeat", "result", "cursor"],
)
def test_a_number_beyond_all_bounds_is_refused(
    kind: Any, body: bytes, field: str, raw: str
) -> None:
    with pytest.raises(DecodeError):
        kind.decode(re.sub(rf'"{field}":[^,}}]+', f'"{field}":{raw}', body.decode()).encode())


@pytest.mark.parametrize("halt", ["9" * 400 + "%", "9" * 400])
def test_a_share_of_failures_beyond_all_bounds_is_refused(halt: str) -> None:
    run = json.loads(full_scene().store.get(LAYOUT.run_json))
    run["limits"]["halt"] = halt
    with pytest.raises(DecodeError):
        Run.decode(json.dumps(run).encode())
