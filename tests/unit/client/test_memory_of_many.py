"""What is known of each file, job or result of a run is on disk, so that memory does not grow."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.watching.report_scene import PROVENANCE
from tests.unit.watching.scene import LAYOUT, Scene

from parallelize import spool
from parallelize.operations.download import Plan, _output, _output_row, _spooled, planned
from parallelize.operations.prep_plan import distinct
from parallelize.report.data import Gathered, make_report
from parallelize.runs.files.fetching import refusals
from parallelize.runs.files.joblog import joblog
from parallelize.runs.inputs import shared_inputs
from parallelize.runs.inputs.chained import Before, outputs_of
from parallelize.runs.inputs.input_rules import NO_RULES
from parallelize.runs.inputs.local_inputs import find_inputs
from parallelize.runs.inputs.remote_inputs import Selection, find_remote
from parallelize.runs.inputs.shared_inputs import SharedInputs, shared_files
from parallelize.runs.jobs.groups import Pattern, by_folder, by_pattern, packed
from parallelize.runs.jobs.plan import FileVersions
from parallelize.runs.jobs.sheet import Sheet, read_rows
from parallelize.runs.jobs.spec import Grouped
from parallelize.runs.manifest import EntryLines, KnownJobs, list_corrections
from parallelize.runs.record import reuse
from parallelize.runs.record.outdated import Now, compare_results
from parallelize.runs.results.merge import read_sizes
from parallelize.runs.results.results import listed_table, read_listed, still_stored
from parallelize.runs.state.history import read_finished
from parallelize.spool import Spooled, Table, batches
from parallelize.together import Together
from parallelize_core.content_key import content_key
from parallelize_core.files import files_of
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Entry, add_corrections, encode_part
from parallelize_core.result import Output, Result
from parallelize_core.run import OutputNaming, Run
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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
    return (least(lambda: kept_bytes(many)) - least(lambda: kept_bytes(few))) / more


def least(measure: Callable[[], int]) -> int:
    """Return the least of three: Python's table of names, which paths enter, may just grow."""
    return min(measure() for _ in range(3))


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
            found = compare_results(known, run, Now(run, new=(new,)), results)
            assert not found.outdated
            assert not found.waiting
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(2600)
    assert (most(2600) - most(600)) / 2000 < 50


def most_by_each(do: Callable[[int], object]) -> float:
    """Return how many bytes more it takes at most to do something with each of more things."""
    do(2600)  # see `kept_by_each`
    most, few = (least(lambda n=n: most_bytes(lambda: do(n))) for n in (2600, 600))
    return (most - few) / 2000


def run_called(name: str) -> Run:
    layout = RunLayout(Location("bucket"), name)
    return Run(
        v=2, name=name, command=("true",), created_at="", recipe="r",
        input=layout.input, output=layout.output,
    )  # fmt: skip


def jobs(count: int) -> Iterator[Entry]:
    return (Entry(key=f"{number:05}", size=1, etag="e") for number in range(count))


@pytest.mark.usefixtures("small")
def test_a_job_whose_input_has_changed_takes_hardly_any_memory() -> None:
    """What would be executed now, what is outdated, and the corrections of the manifest."""
    store = InMemoryStore()
    done = {count: finished_run(store, count) for count in (600, 2600)}

    def changed(count: int) -> object:
        layout = done[count]
        run, known = run_called(layout.run), KnownJobs(store, layout)
        results = (ObjectInfo(layout.result(e.key), 9, "e", {}) for e in jobs(count))
        found = compare_results(known, run, Now(run, EntryLines.of(jobs(count))), results)
        assert len(found.outdated) == len(found.done) == count
        return found

    assert most_by_each(changed) < 100


@pytest.mark.usefixtures("small")
def test_a_corrected_job_takes_hardly_any_memory() -> None:
    store = InMemoryStore()
    layouts = {count: RunLayout(Location("bucket"), f"run{count}") for count in (600, 2600)}
    for count, layout in layouts.items():
        for some in batches(jobs(count), 200):
            add_corrections(store, layout, some)

    def read(count: int) -> object:
        corrections = list_corrections(Together(store), layouts[count])()
        assert len(corrections) == count
        return corrections

    assert most_by_each(read) < 100


@pytest.mark.usefixtures("small")
def test_a_job_that_can_be_copied_takes_hardly_any_memory() -> None:
    store = InMemoryStore()
    run, outputs = run_called("new"), (Output(key="o", size=1, sha256="0" * 64, etag="e"),)
    others = {count: RunLayout(Location("bucket"), f"run{count}") for count in (600, 2600)}
    for count, layout in others.items():
        store.put(layout.run_json, run_called(layout.run).encode())
        for entry in jobs(count):
            made = Result(
                run=layout.run, key=entry.key, attempt=1, worker="w", started_at="",
                finished_at="", status="succeeded", outputs=outputs,
                content=content_key(run, entry),
            )  # fmt: skip
            store.put(layout.result(made.key), made.encode())
    known = KnownJobs(store, RunLayout(Location("bucket"), "new"))

    def found(count: int) -> object:
        same = reuse.find(run, [others[count]], jobs(count), known)
        names, copied = Table(e.key for e in jobs(count)), Table(one.entry.key for one in same)
        assert len(reuse.unneeded(known, jobs(count), names, copied, Table())) == count
        return same

    assert kept_by_each(lambda: found(600), lambda: found(2600), 2000) < 50


@pytest.mark.usefixtures("small")
def test_an_output_of_another_run_takes_hardly_any_memory() -> None:
    """Also where outputs may replace each other."""
    store = InMemoryStore()
    befores = []
    for count in (600, 2600):
        layout = finished_run(store, count)
        naming = OutputNaming(name="{stem}", on_clash="replace")
        befores.append(Before(layout, run_called(layout.run).model_copy(update={"naming": naming})))
        store.put(layout.manifest_part(0), encode_part(jobs(count)))
    few, many = (
        lambda before=before: outputs_of(before, store, store, NO_RULES) for before in befores
    )
    assert kept_by_each(few, many, 2000) < 50


@pytest.mark.usefixtures("small")
def test_an_output_that_others_may_have_replaced_takes_hardly_any_memory() -> None:
    store = InMemoryStore()

    def left(count: int) -> object:
        made = _spooled(())
        for number in range(count):
            output = Output(key=f"{number // 2:05}", size=1, sha256="0" * 64, etag=str(number % 2))
            made.append((output, f"{number:05}"))
        kept = sum(1 for _ in still_stored(store, Location("bucket"), made))
        assert kept == count // 2
        return kept

    assert most_by_each(left) < 100


@pytest.mark.usefixtures("small")
def test_a_line_of_a_job_log_takes_hardly_any_memory() -> None:
    def written(count: int) -> object:
        results = (
            Result(
                run="r", key=entry.key, attempt=1, worker="w", started_at="",
                finished_at="", status="succeeded",
            )
            for entry in jobs(count)
        )  # fmt: skip
        return sum(1 for _ in joblog(run_called("r"), jobs(count), results))

    assert most_by_each(written) < 100


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
