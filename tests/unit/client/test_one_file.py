"""Which file `check` means, and that `repro` makes the same run of it."""

import zipfile
from pathlib import Path

import pytest

from parallelize import cli
from parallelize.context import Context
from parallelize.operations.check import find_input
from parallelize.operations.repro import as_settings
from parallelize.runs.record import drafted
from parallelize.settings import Resolved, resolve
from parallelize_core.errors import UsageError
from parallelize_core.layout import Location
from parallelize_core.run import Environment, Limits, OutputNaming, Run, Setup


def resolved(folder: Path, **flags: object) -> Resolved:
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return resolve(given, {}, folder)


def project(folder: Path, *names: str) -> Context:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return Context(resolved(folder), "r")


@pytest.mark.parametrize("named", ["in/a/1.txt", "inputs/a/1.txt", "a/1.txt", "1.txt"])
def test_an_input_is_known_by_its_path_its_key_and_the_end_of_it(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = project(tmp_path, "inputs/a/1.txt", "inputs/a/2.txt")
    (tmp_path / "in").symlink_to("inputs")
    monkeypatch.chdir(tmp_path)
    key, path = find_input(context, Path(named))
    assert (key, path.resolve()) == ("a/1.txt", tmp_path / "inputs" / "a" / "1.txt")


def test_a_file_that_is_no_input_of_the_run_has_its_name_as_key(tmp_path: Path) -> None:
    context = project(tmp_path, "inputs/1.txt", "elsewhere/9.txt")
    file = tmp_path / "elsewhere" / "9.txt"
    assert find_input(context, file) == ("9.txt", file)


def test_what_is_wrong_with_other_inputs_does_not_stop_a_check(tmp_path: Path) -> None:
    context = project(tmp_path, "inputs/1.txt", "inputs/a\nb")
    assert find_input(context, tmp_path / "inputs" / "1.txt")[0] == "1.txt"


def test_a_file_that_is_nowhere_is_named(tmp_path: Path) -> None:
    context = project(tmp_path, "inputs/1.txt")
    with pytest.raises(UsageError, match=r"there is no file 7\.txt"):
        find_input(context, Path("7.txt"))


def test_the_settings_of_a_repeated_job_make_the_run_that_it_came_from(tmp_path: Path) -> None:
    archive = tmp_path / "environment.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        program = zipfile.ZipInfo("tools/job.sh")
        program.external_attr = 0o755 << 16
        opened.writestr(program, "#!/bin/sh\n")
    run = Run(
        name="scans",
        command=("./job.sh", "a word", "it's", "$HOME"),
        environment=Environment(bucket="b", key="k", identity="i", prefix="tools"),
        setup=Setup(command=("./job.sh", "two  spaces"), timeout_seconds=7),
        input=Location("b", "in/"),
        output=Location("b", "out/"),
        naming=OutputNaming(name="{stem}.{hash}", on_clash="replace"),
        limits=Limits(timeout_seconds=5, require_output=True, memory_bytes=10**9, gpus=2),
        created_at="2026-11-20T21:39:02+00:00",
    )
    settings = as_settings(resolved(tmp_path, aws__bucket="here"), run, archive)
    with drafted(Context(settings, run.name)) as draft:
        again = draft.run
    same = ("name", "command", "setup", "naming", "limits")
    assert {name: getattr(again, name) for name in same} == {
        name: getattr(run, name) for name in same
    }
    assert again.environment
    assert again.environment.prefix == "tools"


def test_a_folder_that_takes_no_outputs_is_told_before_the_job_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "taken").write_text("no folder")
    assert cli.run(["check", "a.txt", "--out", "taken", "--command", "cat"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "error: outputs cannot be written to taken"
