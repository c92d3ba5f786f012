"""Lists and tables on disk are the lists and tables that they stand for."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.watching.report_scene import PROVENANCE
from tests.unit.watching.scene import LAYOUT, Scene

from parallelize import spool
from parallelize.operations.download import Plan, _output, _output_row, _spooled, planned
from parallelize.operations.prep_plan import distinct
from parallelize.report.data import Gathered, make_report
from parallelize.runs.files.fetching import refusals
from parallelize.runs.inputs import shared_inputs
from parallelize.runs.inputs.local_inputs import find_inputs
from parallelize.runs.inputs.remote_inputs import Selection, find_remote
from parallelize.runs.inputs.shared_inputs import SharedInputs, shared_files
from parallelize.runs.jobs.groups import Pattern, by_folder, by_pattern, packed
from parallelize.runs.jobs.plan import FileVersions, KnownJobs
from parallelize.runs.jobs.sheet import Sheet, read_rows
from parallelize.runs.jobs.spec import Grouped
from parallelize.runs.record.outdated import Comparison, Now, compare_results
from parallelize.runs.results.merge import read_sizes
from parallelize.runs.results.results import listed_table, read_listed
from parallelize.runs.state.history import read_finished
from parallelize.spool import BATCH, FEW_ROWS, SORTED_ROWS, Hashes, Row, Spooled, Table
from parallelize_core.errors import UsageError
from parallelize_core.files import files_of
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Entry
from parallelize_core.result import Output, Result
from parallelize_core.run import Run
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "parallelize"


def numbers(count: int) -> Spooled[Row]:
    """As in the order of a folder: neither sorted nor alike twice."""
    rows: Spooled[Row] = Spooled(lambda row: row, lambda *row: row)
    rows.extend((f"{number * 7919 % count:07}", number) for number in range(count))
    return rows


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * SORTED_ROWS + 1])
def test_a_list_is_gone_through_in_its_order_and_in_that_of_a_key(count: int) -> None:
    rows = numbers(count)
    expected = [(f"{number * 7919 % count:07}", number) for number in range(count)]
    assert len(rows) == count
    assert list(rows) == expected
    assert list(rows.in_order(lambda row: row[0])) == sorted(expected)


def test_two_can_go_through_a_list_at_the_same_time() -> None:
    rows = numbers(5 * BATCH)
    assert all(one == other for one, other in zip(rows, rows, strict=True))


def test_equal_items_keep_their_order() -> None:
    rows = numbers(3 * SORTED_ROWS).in_order(lambda row: row[0][-1])
    kept = [number for text, number in rows if text.endswith("0")]
    assert kept == sorted(kept)


KEYS = st.sampled_from(["", "a", "b", "\u00e9", "\ud800", "z/\U0001f600"])
STEPS = st.lists(st.tuples(st.sampled_from(["add", "put", "remove"]), KEYS, st.integers(0, 9)))


@settings(deadline=None, max_examples=50)
@given(STEPS, st.booleans())
def test_a_table_has_the_last_row_of_each_text(
    steps: list[tuple[str, str, int]], on_disk: bool
) -> None:
    table, expected = Table(), dict[str, Row]()
    if on_disk:
        table._move_to_disk()
    for step, key, number in steps:
        if step == "add":
            assert table.add(key, (number,)) == (key not in expected)
            expected.setdefault(key, (number,))
        elif step == "put":
            table.put(key, (number,))
            expected[key] = (number,)
        elif key in expected:
            table.remove(key)
            del expected[key]
    assert list(table.items()) == sorted(expected.items())
    assert len(table) == len(expected)
    assert all(table.get(key) == row and key in table for key, row in expected.items())
    assert "nowhere" not in table


def place_of(descriptor: Path) -> str:
    with suppress(FileNotFoundError):  # closed meanwhile, as the list's own is
        return str(descriptor.readlink())
    return ""


def test_a_large_table_is_on_disk_and_leaves_no_file_there(cache: Path) -> None:
    table = Table(str(number) for number in range(FEW_ROWS + 1))
    rows = numbers(10 * BATCH)
    opened = map(place_of, Path("/proc/self/fd").iterdir())
    assert len([place for place in opened if place.startswith(str(cache))]) == 2
    assert list(cache.iterdir()) == []
    assert len(table) == len(set(table)) == FEW_ROWS + 1
    assert len(rows) == 10 * BATCH


def test_a_disk_without_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    table._move_to_disk()
    assert table._database is not None
    table._database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(UsageError, match="cannot be written") as caught:
        table.put("a", ("x" * 100_000,))
    assert "full" in (caught.value.why or "")
    assert "XDG_CACHE_HOME" in (caught.value.fix or "")


@given(st.sets(st.text(max_size=3)), st.lists(st.text(max_size=3)))
def test_hashes_tell_which_texts_may_be_there_twice(some: set[str], others: list[str]) -> None:
    one, other = Hashes(), Hashes()
    for text in some:
        one.add(text)
    for text in others:
        other.add(text)
    assert not one.repeated()
    assert {hash(text) for text in others if others.count(text) > 1} == other.repeated()
    assert {hash(text) for text in some.intersection(others)} == one.common(other)


def test_only_the_parts_of_a_file_are_in_memory() -> None:
    rows = numbers(20 * BATCH)
    assert len(rows._rows._last) <= spool.BATCH


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small enough for memory is smaller here, so that a few files are many."""
    for module, name in ((spool, "SORTED_ROWS"), (spool, "FEW_ROWS"), (shared_inputs, "COMPARED")):
        monkeypatch.setattr(module, name, 100)
    monkeypatch.setattr(spool, "BATCH", 5)


def kept_bytes(do: Callable[[], object]) -> int:
    """Return how much memory the result of a function takes."""
    tracemalloc.start()
    try:
        kept = do()
        gc.collect()
        assert kept
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def kept_by_each(few: Callable[[], object], many: Callable[[], object], more: int) -> float:
    """Return how many bytes each thing takes, of which there are `more`."""
    many()  # what is imported and cached by then, such as parts of paths, is not counted
    return (kept_bytes(many) - kept_bytes(few)) / more


def most_bytes(do: Callable[[], object]) -> int:
    """Return how much memory a function takes at most."""
    tracemalloc.start()
    try:
        assert do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def looked_through(folder: Path) -> int:
    """Return how much memory it takes at most to find the inputs in a folder."""
    return most_bytes(lambda: find_inputs(str(folder), folder, "").inputs)


def prepared(folder: Path) -> object:
    """Compare the files of a folder with those in S3, as `prep` does."""
    found = find_inputs(str(folder), folder, "")
    shared = SharedInputs(InMemoryStore(), Location("bucket"))
    files = shared_files(shared, found.inputs, {}.get)
    chosen = distinct(files.uploads)
    table = Table(one.sha256 for one in chosen)
    assert len(found.inputs) == len(files.versions) == len(chosen) == len(table)
    return found, files, chosen, table


@pytest.mark.usefixtures("small")
def test_a_file_to_send_takes_hardly_any_memory(tmp_path: Path) -> None:
    for name, count in (("few", 600), ("many", 2600)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number:05}").write_text(str(number))
    each = kept_by_each(
        lambda: prepared(tmp_path / "few"), lambda: prepared(tmp_path / "many"), 2000
    )
    assert each < 100


@pytest.mark.usefixtures("small")
def test_a_file_that_is_found_takes_hardly_any_memory_even_for_a_moment(tmp_path: Path) -> None:
    for name, count in (("others", 2600), ("few", 600), ("many", 2600)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number:05}").touch()
    looked_through(tmp_path / "others")
    few, many = looked_through(tmp_path / "few"), looked_through(tmp_path / "many")
    assert (many - few) / 2000 < 100


GROUPED: dict[str, Callable[[list[Entry]], Grouped]] = {
    "a number of files": lambda files: packed(files, 10, None),
    "by folder": by_folder,
    "by pattern": lambda files: by_pattern(files, Pattern.parse("{s}_{n}")),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("group", GROUPED.values(), ids=GROUPED.keys())
def test_a_file_of_a_group_takes_hardly_any_memory(
    group: Callable[[list[Entry]], Grouped],
) -> None:
    """Neither the jobs, nor the versions of their files."""

    def files(count: int) -> list[Entry]:
        names = (f"{number // 10:05}/s{number // 10}_{number % 10}" for number in range(count))
        return [Entry(key=name, size=1, etag="e") for name in names]

    few, many = files(600), files(2600)

    def shaped(found: list[Entry]) -> object:
        made = group(found), FileVersions(file for one in found for file in files_of(one))
        assert sum(len(job.files) for job in made[0].jobs) == len(found)
        return made

    assert kept_by_each(lambda: shaped(few), lambda: shaped(many), 2000) < 50


@pytest.mark.usefixtures("small")
def test_an_object_that_is_an_input_takes_hardly_any_memory() -> None:
    store = InMemoryStore()
    for number in range(3200):
        store.put(f"{'few' if number < 600 else 'many'}/{number:05}", b"x")

    def found(prefix: str) -> object:
        return find_remote(store, Selection(f"s3://bucket/{prefix}", Location("bucket", prefix)))

    assert kept_by_each(lambda: found("few/"), lambda: found("many/"), 2000) < 50


@pytest.mark.usefixtures("small")
def test_a_result_takes_hardly_any_memory_when_jobs_are_added() -> None:
    """They may have results if a command was interrupted, so all are compared with the listing."""
    layout = RunLayout(Location("bucket"), "r")
    known = KnownJobs(InMemoryStore(), layout)
    run = Run(
        v=2, name="r", command=("true",), created_at="", input=layout.input, output=layout.output
    )

    def most(count: int) -> int:
        results = (ObjectInfo(layout.result(str(n)), 9, f"{n:032}", {}) for n in range(count))
        new = Entry(key="new", size=1, etag="e")
        tracemalloc.start()
        try:
            assert compare_results(known, run, Now(run, {}, (new,)), results) == Comparison()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(2600)
    assert (most(2600) - most(600)) / 2000 < 50


@pytest.mark.usefixtures("small")
def test_a_row_with_a_file_takes_hardly_any_memory(tmp_path: Path) -> None:
    def rows(count: int) -> object:
        return read_rows(Sheet(tmp_path / f"{count}.csv"))

    for number in range(2600):
        (tmp_path / f"{number:05}.txt").touch()
    for count in (600, 2600):
        lines = "".join(f"{number:05}.txt,{number}\n" for number in range(count))
        (tmp_path / f"{count}.csv").write_text(f"file,number\n{lines}")
    assert kept_by_each(lambda: rows(600), lambda: rows(2600), 2000) < 50


def read_outputs(store: InMemoryStore, layout: RunLayout, folder: Path) -> object:
    """Read the results of a run, and plan the download of their outputs."""
    listing = listed_table((item.key, item.etag) for item in store.list(layout.results.prefix))
    outputs = Spooled(_output_row, _output)
    for result in read_listed(store, layout, listing):
        outputs.extend(result.outputs)
    assert not refusals(outputs, folder, one_case=True)
    return listing, outputs


def finished_run(store: InMemoryStore, count: int) -> RunLayout:
    """Store the results of a run, all of which succeeded."""
    layout = RunLayout(Location("bucket"), f"run{count}")
    for number in range(count):
        output = Output(key=f"{number:05}", size=1, sha256="0" * 64, etag="e")
        made = Result(
            run=layout.run, key=output.key, attempt=1, worker="w", started_at="",
            finished_at="", status="succeeded", outputs=(output,),
        )  # fmt: skip
        store.put(layout.result(made.key), made.encode())
    return layout


@pytest.mark.usefixtures("small")
def test_an_output_to_fetch_takes_hardly_any_memory(tmp_path: Path) -> None:
    store = InMemoryStore()
    few, many = finished_run(store, 600), finished_run(store, 2600)
    each = kept_by_each(
        lambda: read_outputs(store, few, tmp_path),
        lambda: read_outputs(store, many, tmp_path),
        2000,
    )
    assert each < 100


def test_a_table_is_at_hand_in_another_thread_as_in_a_notebook() -> None:
    table = Table(f"{number:06}" for number in range(FEW_ROWS + 1))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(table.put, "more", (1,)).result()
    assert table.get("more") == (1,)


def told_plan(count: int, folder: Path) -> int:
    """Return how much memory it takes at most to say what a download would fetch."""
    outputs = Spooled(_output_row, _output)
    for number in range(count):
        outputs.append_row(f"{number:05}", 1, "0" * 64, "e", "")
    plan = Plan(_spooled(()), outputs, (), count, 0, count, place=Location("bucket"))
    return most_bytes(lambda: [*planned(plan, folder)])


@pytest.mark.usefixtures("small")
def test_an_output_that_would_be_fetched_takes_hardly_any_memory(tmp_path: Path) -> None:
    def least(count: int) -> int:
        # Of three times: Python's table of names, all of which paths enter, may just grow.
        return min(told_plan(count, tmp_path / "out") for _ in range(3))

    least(600)
    assert (least(2600) - least(600)) / 2000 < 100


def unfinished_report(count: int) -> object:
    """Return the report on a run without results."""
    scene = Scene()
    scene.prepare(*(f"{number:05}" for number in range(count)))
    snapshot = scene.snapshot()
    sizes = read_sizes(scene.store, LAYOUT, snapshot.run)
    report = make_report(Gathered(snapshot, sizes, {}, (), None, {}, PROVENANCE))
    assert len(report.files) == count
    return report


@pytest.mark.usefixtures("small")
def test_a_file_of_a_report_takes_hardly_any_memory_besides_its_result() -> None:
    each = kept_by_each(lambda: unfinished_report(600), lambda: unfinished_report(2600), 2000)
    assert each < 100


def read_all(count: int) -> int:
    """Return how much memory it takes at most to read the results of a run, one at a time."""
    scene = Scene()
    keys = [f"{number:05}" for number in range(count)]
    for key in keys:
        scene.finish(key)
    snapshot = scene.snapshot()
    return most_bytes(lambda: sum(1 for _ in read_finished(scene.store, snapshot, keys)))


@pytest.mark.usefixtures("small")
def test_a_result_that_is_read_takes_hardly_any_memory() -> None:
    read_all(600)
    assert (read_all(2600) - read_all(600)) / 2000 < 100
