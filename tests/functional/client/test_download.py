"""`download` from S3: what the results name, checked, and no more."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project

from parallelize.runs.files.download_record import RECORD, DownloadRecord
from parallelize_core.layout import RunLayout
from parallelize_core.owner import OWNER, OWNER_RUN, owner_mark, run_mark

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def files(folder: Path) -> set[str]:
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    return found - {f".out{RECORD}"}


def test_outputs_of_finished_jobs_arrive_and_the_rest_is_told(
    project: Project, out: Path, capsys: Captured
) -> None:
    project.add("a.txt", "deep/b.txt", "c.txt")
    project.call("prep")
    project.finish("a.txt", "a.csv")
    project.finish("deep/b.txt", "deep/b.csv", "deep/more/b.png")
    project.store.put(project.layout.output.key("orphan.csv"), b"of a job without a result")
    assert project.call("download", str(out)) == 0
    assert files(out) == {"a.csv", "deep/b.csv", "deep/more/b.png"}
    assert "still missing: 0 failed, 1 without a result" in capsys.readouterr().err


def test_outputs_of_another_run_in_the_folder_are_not_replaced_without_a_word(
    project: Project, out: Path, capsys: Captured
) -> None:
    project.add("a.txt")
    project.call("prep")
    project.finish("a.txt", "a.csv", "all.csv")
    out.mkdir()
    for name in ("all.csv", "old.csv"):
        DownloadRecord(out, "january").note([(name, hashlib.sha256(b"of january").hexdigest())])
        (out / name).write_bytes(b"of january")
    capsys.readouterr()
    assert project.call("download", str(out)) == 0
    assert "replaced 1 output of run january in" in capsys.readouterr().err
    assert (out / "all.csv").read_text() == "output all.csv"
    assert (out / "old.csv").read_text() == "of january"
    (out / "all.csv").unlink()
    assert project.call("download", str(out)) == 0
    assert "replaced" not in capsys.readouterr().err


def test_a_private_umask_keeps_outputs_private_and_is_still_there_afterwards(
    project: Project, out: Path
) -> None:
    project.add("a.txt")
    project.call("prep")
    project.finish("a.txt", *(f"{n}.csv" for n in range(40)))
    before = os.umask(0o077)
    try:
        project.call("download", str(out))
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in out.rglob("*.csv")} == {0o600}


def test_a_file_that_is_done_without_an_output_is_named_and_no_full_success(
    project: Project, out: Path, capsys: Captured
) -> None:
    project.add("a.txt", "silent.txt")
    project.call("prep")
    project.finish("a.txt", "a.csv")
    project.finish("silent.txt")
    assert project.call("download", str(out), "--json") == 1
    told = capsys.readouterr()
    assert "1 file succeeded but produced no output: silent.txt\n" in told.err
    assert json.loads(told.out)["without_output"] == 1


def test_a_run_that_needs_no_outputs_has_them_all(
    project: Project, out: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLELIZE_RUN_REQUIRE_OUTPUT", "false")
    project.add("silent.txt")
    project.call("prep")
    project.finish("silent.txt")
    assert project.call("download", str(out)) == 0
    assert "no output" not in capsys.readouterr().err


def test_a_second_download_fetches_only_what_is_missing(
    project: Project, out: Path, capsys: Captured
) -> None:
    project.add("a.txt", "b.txt")
    project.call("prep")
    project.finish("a.txt", "a.csv")
    project.finish("b.txt", "b.csv")
    project.call("download", str(out))
    (out / "b.csv").unlink()
    capsys.readouterr()
    assert project.call("download", str(out), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["downloaded"], told["present"]) == (1, 1)


def test_failed_jobs_make_it_end_with_1(project: Project, out: Path) -> None:
    project.add("a.txt", "b.txt")
    project.call("prep")
    project.finish("a.txt", "a.csv")
    project.finish("b.txt", failed=True)
    assert project.call("download", str(out)) == 1
    assert files(out) == {"a.csv"}


def test_a_hostile_output_name_is_named_and_stays_out(
    project: Project, out: Path, capsys: Captured
) -> None:
    project.add("a.txt", "b.txt")
    project.call("prep")
    project.finish("a.txt", "../evil.csv")
    project.finish("b.txt", "b.csv")
    assert project.call("download", str(out)) == 1
    assert files(out.parent) & {"evil.csv", "out/evil.csv"} == set()
    assert files(out) == {"b.csv"}
    assert "not downloaded: ../evil.csv" in capsys.readouterr().err


def test_an_output_that_was_tampered_with_is_not_written(project: Project, out: Path) -> None:
    project.add("a.txt")
    project.call("prep")
    project.finish("a.txt", "a.csv")
    project.store.put(project.layout.output.key("a.csv"), b"something else")
    assert project.call("download", str(out)) == 1
    assert files(out) == set()


def test_before_anything_has_succeeded_it_ends_with_3(project: Project, out: Path) -> None:
    project.add("a.txt")
    project.call("prep")
    assert project.call("download", str(out)) == 3
    assert not out.exists()


def test_a_dry_run_writes_nothing(project: Project, out: Path, capsys: Captured) -> None:
    project.add("a.txt")
    project.call("prep")
    project.finish("a.txt", "a.csv")
    assert project.call("download", str(out), "--dry-run") == 0
    assert not out.exists()
    assert "(dry run) would download a.csv" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["inputs", "inputs/sub", ".", "inputs/../inputs", "link"])
def test_a_folder_within_or_around_the_inputs_is_refused(
    project: Project, capsys: Captured, place: str
) -> None:
    project.add("a.txt")
    (project.folder / "link").symlink_to(project.folder / "inputs")
    project.call("prep")
    project.finish("a.txt", "a.txt")
    for command in (
        ["download", place],
        ["run", "--out", place],
        ["check", "a.txt", "--out", place],
    ):
        capsys.readouterr()
        assert project.call(*command) == 2
        assert f"outputs cannot go to {place}" in capsys.readouterr().err
    assert (project.folder / "inputs/a.txt").read_text() == "content of a.txt"
    assert files(project.folder / "inputs") == {"a.txt"}


@pytest.mark.parametrize(
    ("inputs", "place"), [("data/*.txt", "data"), ("@list", "data"), ("data/a.txt", "data")]
)
def test_inputs_named_by_a_glob_a_list_or_one_by_one_are_kept_apart_too(
    project: Project, capsys: Captured, inputs: str, place: str
) -> None:
    (project.folder / "data").mkdir()
    (project.folder / "data" / "a.txt").write_text("original")
    (project.folder / "list").write_text("data/a.txt\n")
    assert project.call("run", "--inputs", inputs, "--out", place) == 2
    assert "outputs cannot go to data" in capsys.readouterr().err
    assert files(project.folder / "data") == {"a.txt"}


def test_the_default_folder_may_lie_below_inputs_that_are_the_whole_project(
    project: Project,
) -> None:
    (project.folder / "a.txt").write_text("1")
    toml = (project.folder / "parallelize.toml").read_text()
    (project.folder / "parallelize.toml").write_text(f'{toml}inputs = "."\n')
    assert project.call("prep") == 0
    project.finish("a.txt", "a.csv")
    assert project.call("download", "out") == 0
    assert project.call("download", "elsewhere") == 2


def test_an_edited_output_stays_and_is_told_with_exit_code_1(
    project: Project, out: Path, capsys: Captured
) -> None:
    project.add("a.txt", "b.txt")
    project.call("prep")
    project.finish("a.txt", "a.csv")
    project.finish("b.txt", "b.csv")
    assert project.call("download", str(out)) == 0
    (out / "a.csv").write_text("edited")
    capsys.readouterr()
    assert project.call("download", str(out), "--dry-run") == 0
    assert "would not download a.csv" in capsys.readouterr().err
    assert project.call("download", str(out)) == 1
    assert "not downloaded: a.csv\n  the file there was changed" in capsys.readouterr().err
    assert (out / "a.csv").read_text() == "edited"


@pytest.mark.parametrize("name", ["input/a.txt", "environment.zip"])
def test_repro_writes_over_no_file_of_the_users(project: Project, out: Path, name: str) -> None:
    project.add("a.txt")
    project.call("prep")
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("original")
    assert project.call("repro", "a.txt", "--out", str(out)) == 2
    assert (out / name).read_text() == "original"


@pytest.mark.parametrize("content", [b"theirs", b"output A.CSV", b""])
def test_an_output_that_another_run_has_replaced_is_told_as_that_and_not_made_once_more(
    project: Project, out: Path, capsys: Captured, content: bytes
) -> None:
    project.add("a.txt", "b.txt")
    project.call("prep")
    project.finish("a.txt", "a.csv")
    project.finish("b.txt", "b.csv")
    theirs = RunLayout(project.layout.base, "theirs")
    mark = {OWNER: owner_mark("a.txt"), OWNER_RUN: run_mark(theirs)}
    project.store.put(project.layout.output.key("a.csv"), content, metadata=mark)
    project.store.put(project.layout.output.key("b.csv"), b"spoilt")
    assert project.call("download", str(out)) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert (
        f"not downloaded: a.csv an output of the run at {theirs.root.uri} has replaced it" in told
    )
    assert "parallelize retry -- b.txt " in told
    assert files(out) == set()
