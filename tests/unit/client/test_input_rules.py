"""What nobody means does not become an input, and is told; what is said wins."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from parallelize.context import Context
from parallelize.report.table import write_table
from parallelize.runs.environment.environment_zip import zip_folder
from parallelize.runs.files.joblog import HEADER
from parallelize.runs.files.own_files import products
from parallelize.runs.files.written import Written
from parallelize.runs.inputs.input_rules import InputRules, rules_of
from parallelize.runs.inputs.local_inputs import FoundInputs, find_inputs
from parallelize.runs.inputs.remote_inputs import Selection, find_remote
from parallelize.settings import resolve
from parallelize_core.errors import UsageError
from parallelize_core.layout import Location
from parallelize_core.testing import InMemoryStore

REPORT = "<html><title>scan · parallelize report</title></html>"


def make(folder: Path, *names: str, content: str = "x") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def found(
    folder: Path, spec: str = "in/", exclude: tuple[str, ...] = (), include: tuple[str, ...] = ()
) -> FoundInputs:
    settings = resolve(
        {"run.exclude": exclude, "run.include": include, "run.env": "env/"}, {}, folder
    )
    context = Context(settings, "r")
    root = folder / spec
    return find_inputs(spec, folder, "", rules_of(context, root if root.is_dir() else None))


def keys(inputs: FoundInputs) -> list[str]:
    return [item.key for item in inputs.inputs]


JUNK = [
    ".DS_Store", "._scan.tif", "Thumbs.db", "thumbs.db", "desktop.ini", "report.docx~", ".a.swp",
    "#draft#", ".#draft", ".~lock.a.csv#", "~$budget.xlsx", ".nfs0000000000a1", "Icon\r",
    ".ipynb_checkpoints/a-checkpoint.csv", "__MACOSX/._a", ".git/config", ".gitkeep",
    "__pycache__/a.pyc", "@eaDir/a", "$RECYCLE.BIN/a", ".Trash-1000/files/a",
    ".apdisk", ".com.apple.timemachine.supported", ".goutputstream-4ABX2Y", "#recycle/a.csv",
    "@Recycle/a.csv", ".dropbox.cache/a", ".syncthing.a.csv.tmp", ".sync_0f3a.db-wal",
    "a.csv.crdownload", ".a.csv.kate-swp", "~WRL0001.tmp", "a.csv___jb_tmp___", ".~a.ipynb",
    ".Rhistory", ".venv/lib/a.py", "a.pyc", ".gitmodules", ".dvc/config",
]  # fmt: skip


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("folder", ["", "deep/er/"])
def test_what_systems_and_editors_leave_is_no_input_and_is_told(
    tmp_path: Path, name: str, folder: str
) -> None:
    make(tmp_path, "in/a.csv", f"in/{folder}{name}")
    inputs = found(tmp_path)
    assert keys(inputs) == ["a.csv"]
    assert len(inputs.left_out) == 1


@pytest.mark.parametrize(
    "name",
    [".hidden", "data~1.csv", "a.swp", ".config.json", "git", "Thumbs.db.csv", "_SUCCESS", "#1",
     "a#b#c", ".nothing", "lost+found.txt", "Icon", "~", ".dropbox.csv", "recycle", "venv",
     "a.part", "a.db", ".sync.db", "a.RData", "~WR.tmp", "CVS"],
)  # fmt: skip
def test_what_only_resembles_it_is_taken(tmp_path: Path, name: str) -> None:
    make(tmp_path, f"in/{name}")
    assert keys(found(tmp_path)) == [name]


def test_a_dangling_lock_of_an_editor_is_no_obstacle(tmp_path: Path) -> None:
    make(tmp_path, "in/a.csv")
    (tmp_path / "in" / ".#a.csv").symlink_to("ann@laptop.1234")
    assert keys(found(tmp_path)) == ["a.csv"]


def test_what_is_excluded_is_left_out_and_what_is_included_is_taken_all_the_same(
    tmp_path: Path,
) -> None:
    make(tmp_path, "in/a.csv", "in/b.txt", "in/raw/c.csv", "in/raw/keep/d.csv", "in/.DS_Store")
    assert keys(found(tmp_path, exclude=("*.txt", "raw/"))) == ["a.csv"]
    taken = found(tmp_path, exclude=("*.txt", "/raw/"), include=(".DS_Store", "raw/keep/"))
    assert keys(taken) == [".DS_Store", "a.csv", "raw/keep/d.csv"]
    assert taken.left_out == ("b.txt", "raw/c.csv")


@pytest.mark.parametrize("place", ["", "in/"])
def test_an_ignore_file_of_the_project_or_of_the_inputs_is_heeded_and_is_no_input(
    tmp_path: Path, place: str
) -> None:
    make(tmp_path, "in/a.csv", "in/notes.md", "in/tmp/x.csv")
    make(tmp_path, f"{place}.parallelizeignore", content="# not data\n*.md\n/tmp/\n")
    assert keys(found(tmp_path)) == ["a.csv"]


def test_patterns_hold_for_globs_and_lists_too(tmp_path: Path) -> None:
    make(tmp_path, "in/a.csv", "in/old/b.csv", "in/._c.csv")
    (tmp_path / "list").write_text("in/a.csv\nin/old/b.csv\nin/._c.csv\n")
    assert keys(found(tmp_path, "in/**/*.csv", exclude=("old/",))) == ["a.csv"]
    # What is named one by one is meant, unless something that was said leaves it out.
    assert keys(found(tmp_path, "@list", exclude=("old/",))) == ["in/._c.csv", "in/a.csv"]


def test_inputs_that_are_all_left_out_are_named_in_the_refusal(tmp_path: Path) -> None:
    make(tmp_path, "in/.DS_Store", "in/Thumbs.db")
    with pytest.raises(UsageError, match="there are no inputs") as caught:
        found(tmp_path)
    assert "left out: .DS_Store, Thumbs.db" in (caught.value.why or "")


def test_a_pattern_that_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path) -> None:
    make(tmp_path, "in/a.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        found(tmp_path, exclude=("!",))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose inputs lie beside everything else, after a run."""
    make(tmp_path, "a.csv", "data/b.csv", "parallelize.toml", "env/job.sh", "out/a.out", "check/x")
    make(tmp_path, ".parallelize-project.json", "results/.parallelize-partial", "outer.csv")
    make(tmp_path, "scan-report.html", content=REPORT)
    make(tmp_path, "doctor-live-xyz.jsonl", content='{"schema":1,"program":"parallelize 0.1.0"}\n')
    make(tmp_path, "doctor-visits.jsonl", content='{"patient": 1}\n')
    make(tmp_path, "my-report.html", content="<html>measured by hand</html>")
    make(tmp_path, ".results.parallelize-downloads.jsonl",
         content='{"parallelize": "downloads", "v": 1}\n')  # fmt: skip
    make(tmp_path, "page.html", content=REPORT)
    make(tmp_path, "jobs.log", content=HEADER + "1\tw1\n")
    write_table([], tmp_path / "files.csv")
    make(tmp_path, "seq.tsv", content="Seq\tLength\n")
    make(tmp_path, "keys.csv", content="key,state\n")
    (tmp_path / "parallelize.toml").write_text("")
    return tmp_path


@pytest.mark.parametrize("spec", [".", "**/*"])
def test_a_project_does_not_take_its_own_files_and_results_for_inputs(
    project: Path, spec: str
) -> None:
    assert keys(found(project, spec)) == [
        "a.csv", "data/b.csv", "doctor-visits.jsonl", "keys.csv", "my-report.html", "outer.csv",
        "seq.tsv",
    ]  # fmt: skip


@pytest.mark.parametrize("spec", ["in/", "in/**/*"])
def test_a_list_that_a_command_wrote_among_the_inputs_is_none_until_other_data_takes_its_place(
    tmp_path: Path, spec: str
) -> None:
    make(tmp_path, "in/a.csv", "in/deep/b.csv")
    Written(tmp_path / "in/deep/jobs.log", "", "").put(lambda path: path.write_text("1 done"))
    assert keys(found(tmp_path, spec)) == ["a.csv", "deep/b.csv"]
    (tmp_path / "in/deep/jobs.log").write_text("my own measurements")
    assert keys(found(tmp_path, spec)) == ["a.csv", "deep/b.csv", "deep/jobs.log"]


def test_a_folder_of_results_can_be_the_inputs_of_the_next_run(project: Path) -> None:
    assert keys(found(project, "out/")) == ["a.out"]
    assert keys(found(project, "results/")) == [".parallelize-partial"]
    assert "out/a.out" in keys(found(project, ".", include=("out/",)))


def test_an_environment_of_the_whole_project_has_neither_its_id_nor_its_results(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("zip") / "e.zip"
    zip_folder(project, target, products(Context(resolve({}, {}, project), "r")))
    with zipfile.ZipFile(target) as archive:
        names = archive.namelist()
    assert ".parallelize-project.json" not in names
    assert not [name for name in names if name.startswith(("out/", "check/"))]
    assert {"a.csv", "env/job.sh", "data/b.csv"} <= set(names)


LAKE = Selection("s3://lake/p/", Location("lake", "p/"))


def lake(*names: str) -> InMemoryStore:
    store = InMemoryStore("lake")
    for name in names:
        store.put(name, b"" if name.endswith("_$folder$") else b"content")
    return store


def test_the_same_rules_hold_in_s3() -> None:
    store = lake(
        "p/a.csv", "p/.DS_Store", "p/x/._b", "p/day_$folder$", "p/old/c.csv", "p/old/d.csv"
    )
    rules = InputRules(("old/",), ("old/d.csv",))
    there = find_remote(store, LAKE, rules)
    assert [entry.key for entry in there.entries] == ["a.csv", "old/d.csv"]
    assert set(there.left_out) == {".DS_Store", "x/._b", "day_$folder$", "old/c.csv"}


@pytest.mark.parametrize("odd", ["p/day1/", "p/a//b", "p/../x", "p/line\nbreak", "p/" + "x" * 300])
def test_one_odd_key_is_named_and_does_not_block_the_others(odd: str) -> None:
    there = find_remote(lake("p/a.csv", odd), LAKE)
    assert [entry.key for entry in there.entries] == ["a.csv"]
    assert [refused.name for refused in there.refused] == [odd.removeprefix("p/")]


def test_an_empty_object_that_makes_a_folder_is_nothing_to_tell_of() -> None:
    store = lake("p/a.csv")
    store.put("p/day2/", b"")
    there = find_remote(store, LAKE)
    assert (there.left_out, there.refused) == ((), ())


def test_prefixes_in_which_runs_leave_what_they_make_are_no_inputs() -> None:
    store = lake("p/a.csv", "p/out/a.out", "p/runs/r/run.json")
    chosen = Selection("s3://lake/p/", LAKE.location, apart=("p/out/", "p/runs/"))
    assert [entry.key for entry in find_remote(store, chosen).entries] == ["a.csv"]
