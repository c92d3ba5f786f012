"""What Python callers get: outcomes in their order, tables, and errors before anything is sent."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parallelize.api import Executor, JobError, Outcome, Outcomes, map, stream  # noqa: A004
from parallelize.api.outcome import outcome_of
from parallelize.api.sources import Items, Task, Written, opened
from parallelize.api.streams import InOrder
from parallelize.runs.state.watch import NotebookView, bundle, notebook_view
from parallelize_core.errors import UsageError
from parallelize_core.result import Cause, Output, Result, Usage


def result(**fields: Any) -> Result:
    facts: dict[str, Any] = {
        "run": "r", "key": "k", "attempt": 1, "worker": "w", "started_at": "", "finished_at": "",
        "status": "succeeded", "usage": Usage(seconds=2.0),
    }  # fmt: skip
    return Result(**facts | fields)


def done(folder: Path, content: str, parameters: dict[str, Any]) -> Outcome:
    (folder / "answer.json").write_text(content)
    output = Output(key="answer.json", size=len(content), sha256="", etag="")
    return outcome_of(Task(parameters, "k", parameters), result(outputs=(output,)), folder, "")


def failed(folder: Path) -> Outcome:
    words = "Traceback\nValueError: too large\n"
    ended = result(status="failed", cause=Cause.COMMAND, exit_code=1, stderr_tail=words)
    return outcome_of(Task({"n": 2}, "k", {"n": 2}), ended, folder, "")


def test_an_outcome_names_its_parameters_and_says_the_last_line_of_a_failure(
    tmp_path: Path,
) -> None:
    outcome = failed(tmp_path)
    assert (outcome.parameters, outcome.error) == ({"n": 2}, 'exit 1 "ValueError: too large"')
    with pytest.raises(JobError, match="ValueError: too large"):
        outcome.value()


def test_outcomes_are_records_with_parameters_and_what_the_job_has_made(tmp_path: Path) -> None:
    outcomes = Outcomes([done(tmp_path, '{"mean": 0.5}', {"n": 1}), failed(tmp_path)])
    first, second = outcomes.records()
    assert (first["n"], first["mean"], first["seconds"], first["error"]) == (1, 0.5, 2.0, None)
    assert second["n"] == 2
    assert "too large" in second["error"]


def test_an_output_that_is_no_dictionary_is_the_column_value(tmp_path: Path) -> None:
    assert done(tmp_path, "[1, 2]", {}).record()["value"] == [1, 2]


def test_outcomes_go_to_pandas_with_a_column_for_whatever_one_of_them_has(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = Outcomes([failed(tmp_path), done(tmp_path, '{"mean": 0.5}', {"n": 1})]).to_pandas()
    assert list(frame["n"]) == [2, 1]
    assert pandas.isna(frame["mean"][0])
    assert frame["mean"][1] == 0.5


def test_outcomes_go_to_arrow_with_a_column_for_whatever_one_of_them_has(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    outcomes = Outcomes([failed(tmp_path), done(tmp_path, '{"mean": 0.5}', {"n": 1})])
    table = outcomes.to_arrow()
    assert table.column("mean").to_pylist() == [None, 0.5]
    assert table.column("n").to_pylist() == [2, 1]


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pandas is not installed"):
        Outcomes().to_pandas()


def test_outcomes_are_held_back_until_those_before_them_have_come(tmp_path: Path) -> None:
    order = InOrder()
    first, second = done(tmp_path, "1", {"n": 0}), done(tmp_path, "1", {"n": 1})
    assert list(order(1, second)) == []
    assert list(order(0, first)) == [first, second]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"items": [1], "grid": {"a": [1]}},
        {"files": "*", "rows": [{"a": 1}]},
        {"items": [1], "files": "*"},
    ],
)
def test_what_does_not_go_together_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="map was given"):
        map("true", name="x", **asked)


@pytest.mark.parametrize("begin", [map, stream, Executor])
def test_an_option_that_there_is_none_of_is_refused_at_once(begin: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument: worker"):
        begin("true", name="n", worker=2)


def test_rows_become_a_sheet_beside_the_caller_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(None, None, [{"a": 1}, {"a": "x"}], None) as source:
        assert isinstance(source, Written)
        sheet = Path(str(source.settings()["run.inputs"]).removeprefix("@"))
        assert sheet.parent == tmp_path
        assert sheet.read_text() == '{"a": 1}\n{"a": "x"}\n'
    assert list(tmp_path.iterdir()) == []


def test_equal_items_are_one_job(tmp_path: Path) -> None:
    items = Items(tmp_path)
    assert items.add({"b": 1, "a": 2}).key == items.add({"a": 2, "b": 1}).key
    assert len(list(tmp_path.rglob("*.json"))) == 1


def test_a_stream_raises_what_is_wrong_where_it_is_gone_through() -> None:
    outcomes = stream("true", [1], name="x", config="/no/such/parallelize.toml")
    with pytest.raises(UsageError, match="does not exist"):
        list(outcomes)


def test_an_item_that_is_no_json_fails_its_future_alone() -> None:
    with Executor("true", name="x") as executor:
        future = executor.submit({2})
        assert isinstance(future.exception(timeout=10), UsageError)


def test_an_executor_takes_nothing_after_shutdown() -> None:
    executor = Executor("true", name="x")
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(1)


class FakeHandle:
    """A display as IPython's."""

    def __init__(self) -> None:
        self.shown: list[object] = []

    def update(self, shown: object, *, raw: bool = False) -> None:
        self.shown.append(shown)


def ipython(kernel: object) -> SimpleNamespace:
    """Return the module as it is in a process with this kernel."""
    handle = FakeHandle()
    display = SimpleNamespace(display=lambda *_, **__: handle)
    return SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=kernel), display=display)


def test_a_notebook_has_a_display_that_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", ipython(object()))
    assert isinstance(notebook_view(), NotebookView)


def test_a_terminal_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", ipython(None))
    assert notebook_view() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook_view() is None


def test_what_a_notebook_shows_is_no_markup() -> None:
    assert bundle("<b>")["text/html"] == "<pre>&lt;b&gt;</pre>"
