"""`prep` against S3: what is sent, what is not sent again, and what is refused first."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import pytest
from tests.conformance.other_server import endpoints
from tests.functional.client.conftest import Project, cut_off

from parallelize.context import open_context
from parallelize.operations.prep import prepare
from parallelize.options import Common
from parallelize.runs.record.ownership import find_run, load_run
from parallelize_core.manifest import read_parts
from parallelize_core.parts import PART_BYTES

Captured = pytest.CaptureFixture[str]


def parts(project: Project) -> list[list[str]]:
    return [[e.key for e in part.entries] for part in read_parts(project.store, project.layout)]


def report(captured: Captured) -> dict[str, object]:
    found: dict[str, object] = json.loads(captured.readouterr().out)
    return found


def test_inputs_environment_manifest_and_run_are_all_there(project: Project) -> None:
    project.add("a.txt", "deep/b c.txt")
    assert project.call("prep") == 0
    store = project.store
    assert project.content_of("deep/b c.txt") == b"content of deep/b c.txt"
    assert parts(project) == [["a.txt", "deep/b c.txt"]]
    run = load_run(store, project.context)
    assert run.command == ("./job.sh",)
    assert run.environment is not None
    assert store.head(run.environment.key) is not None


def test_what_is_there_is_not_sent_again(project: Project, capsys: Captured) -> None:
    project.add("a.txt", "b.txt")
    project.call("prep")
    capsys.readouterr()
    assert project.call("prep", "--json") == 0
    told = report(capsys)
    assert (told["inputs"], told["added"], told["uploaded"]) == (2, 0, 0)


def test_new_inputs_come_as_a_part_of_their_own(project: Project, capsys: Captured) -> None:
    project.add("b.txt")
    project.call("prep")
    project.add("a.txt")
    capsys.readouterr()
    assert project.call("prep", "--json") == 0
    assert parts(project) == [["b.txt"], ["a.txt"]]
    assert report(capsys)["uploaded"] == 1


def test_a_file_in_several_parts_is_not_sent_again(project: Project, capsys: Captured) -> None:
    (project.folder / "inputs").mkdir()
    with (project.folder / "inputs" / "big").open("wb") as file:
        file.truncate(PART_BYTES + 1)
    project.call("prep")
    capsys.readouterr()
    project.call("prep", "--json")
    assert report(capsys)["uploaded"] == 0


def test_a_changed_environment_is_sent_beside_the_old_one(project: Project) -> None:
    project.add("a.txt")
    project.call("prep")
    first = load_run(project.store, project.context)
    project.write_script("#!/bin/sh\necho new\n")
    project.call("prep")
    second = load_run(project.store, project.context)
    assert first.environment != second.environment
    assert second.created_at == first.created_at


def test_it_is_said_when_the_script_has_changed(project: Project, capsys: Captured) -> None:
    project.add("a.txt")
    assert project.call("prep") == 0
    assert project.call("prep") == 0
    assert "changed" not in capsys.readouterr().err
    project.write_script("#!/bin/sh\n# another\n")
    assert project.call("prep") == 0
    assert "the environment or the settings of the run have changed" in capsys.readouterr().err


def test_a_users_own_zip_is_taken(project: Project) -> None:
    project.add("a.txt")
    with zipfile.ZipFile(project.folder / "env.zip", "w") as archive:
        archive.writestr("environment/job.sh", "#!/bin/sh\n")
    with (project.folder / "parallelize.toml").open("a") as file:
        file.write('env_prefix = "environment"\n')
    assert project.call("prep", "--env", "env.zip") == 0
    run = load_run(project.store, project.context)
    assert run.environment is not None
    assert run.environment.prefix == "environment"


def test_inputs_in_s3_are_only_listed(project: Project) -> None:
    context = project.context
    project.add("first.txt")
    project.call("prep")  # makes the bucket
    context.store.put(f"mine/{project.run}/x.txt", b"x")
    before = {item.key for item in context.store.list("mine/")}
    uri = f"s3://{context.bucket}/mine/{project.run}"
    assert project.call("prep", "--run", f"{project.run}-2", "--inputs", uri) == 0
    assert {item.key for item in context.store.list("mine/")} == before
    other = open_context(Common(run=f"{project.run}-2"))
    assert [e.key for p in read_parts(other.store, other.layout) for e in p.entries] == ["x.txt"]
    assert load_run(other.store, other).input.uri == f"{uri}/"


def test_a_run_cannot_move_its_inputs(project: Project, capsys: Captured) -> None:
    project.add("a.txt")
    project.call("prep")
    assert project.call("prep", "--inputs", f"s3://{project.context.bucket}/elsewhere/") == 2
    assert "give the other run another name" in capsys.readouterr().err


def test_a_dry_run_sends_nothing(project: Project, capsys: Captured) -> None:
    project.add("a.txt")
    assert project.call("prep", "--dry-run") == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert list(project.store.list(project.layout.root.prefix)) == []


def a_missing_command(project: Project) -> str:
    (project.folder / "env" / "job.sh").unlink()
    return "env/job.sh does not exist"


def no_x(project: Project) -> str:
    (project.folder / "env" / "job.sh").chmod(0o644)
    return "env/job.sh is not executable"


def crlf(project: Project) -> str:
    project.write_script("#!/bin/sh\r\n")
    return "env/job.sh has Windows line endings (CRLF)"


def no_first_line(project: Project) -> str:
    project.write_script("echo\n")
    return "env/job.sh has no #! line"


def a_corrupt_zip(project: Project) -> str:
    (project.folder / "env.zip").write_bytes(b"PK\x03\x04 and then nothing")
    toml = project.folder / "parallelize.toml"
    toml.write_text(toml.read_text().replace("env/", "env.zip"))
    return "env.zip cannot be used as an environment"


def a_bad_name(project: Project) -> str:
    project.add("two\nlines")
    return "1 file cannot be an input"


def no_inputs(project: Project) -> str:
    for path in (project.folder / "inputs").iterdir():
        path.unlink()
    return "there are no inputs in inputs/"


def no_folder(project: Project) -> str:
    (project.folder / "inputs").rename(project.folder / "other")
    return "the inputs inputs/ do not exist"


def a_typo(project: Project) -> str:
    with (project.folder / "parallelize.toml").open("a") as file:
        file.write("[workers]\ncuont = 1\n")
    return "parallelize.toml: unknown key workers.cuont"


@pytest.mark.parametrize(
    "spoil",
    [
        a_missing_command, no_x, crlf, no_first_line, a_corrupt_zip, a_bad_name, no_inputs,
        no_folder, a_typo,
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_said_before_anything_is_sent(
    project: Project, capsys: Captured, spoil: Callable[[Project], str]
) -> None:
    project.add("a.txt")
    layout, store = project.layout, project.store
    expected = spoil(project)
    assert project.call("prep") == 2
    told = capsys.readouterr().err
    assert f"error: {expected}" in told
    # A long path stays whole.
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in told.splitlines())
    assert list(store.list(layout.root.prefix)) == []


def test_no_credentials_end_with_4(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert project.call("prep") == 4
    assert "error: no AWS credentials found" in capsys.readouterr().err


def test_no_region_ends_with_2(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    assert project.call("prep") == 2
    assert "error: no AWS region is set" in capsys.readouterr().err


def test_an_endpoint_that_nobody_listens_at_ends_with_6(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")
    for name in endpoints():
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    # The eight attempts of everyday would take half a minute.
    monkeypatch.setattr("parallelize_core.clients.MAX_ATTEMPTS", 1)
    assert project.call("prep") == 6
    told = capsys.readouterr().err
    assert "note: not AWS: AWS_ENDPOINT_URL=http://127.0.0.1:9" in told
    assert "error: AWS cannot be reached" in told


def test_a_missing_bucket_is_made_only_where_that_is_meant(
    project: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")
    # Named for the one service, the endpoint is that of no emulator as far as one can tell.
    monkeypatch.setattr("parallelize.context.custom_endpoint", lambda environ: None)
    bucket = f"bucket-{project.run}"
    assert project.call("prep", "--bucket", bucket) == 2
    assert "--create-bucket" in capsys.readouterr().err
    assert project.call("prep", "--bucket", bucket, "--create-bucket") == 0
    s3 = project.context.clients.s3
    closed = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert set(closed.values()) == {True}
    owner = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert owner == [{"ObjectOwnership": "BucketOwnerEnforced"}]


@pytest.mark.parametrize("writes", range(7))
def test_a_prep_that_was_cut_off_anywhere_is_finished_by_the_next(
    project: Project, writes: int
) -> None:
    project.add("a.txt", "b.txt", "c.txt")
    whole = project.context
    with pytest.raises(ConnectionAbortedError):
        prepare(cut_off(whole, writes))
    prepare(whole)
    assert sorted(key for part in parts(project) for key in part) == ["a.txt", "b.txt", "c.txt"]
    assert load_run(whole.store, whole).environment is not None
    for part in read_parts(whole.store, whole.layout):
        for entry in part.entries:
            there = project.head_of(entry.key)
            assert there is not None
            assert (there.size, there.etag) == (entry.size, entry.etag)


def test_whoever_finds_the_run_finds_all_that_it_names(project: Project) -> None:
    project.add("a.txt")
    with pytest.raises(ConnectionAbortedError):
        prepare(cut_off(project.context, 4))  # all but run.json
    assert find_run(project.store, project.layout.run_json) is None


def fail(project: Project, key: str) -> None:
    project.finish(key, failed=True)


def succeed(project: Project, key: str) -> None:
    project.finish(key)


def test_a_changed_input_of_a_finished_job_is_not_sent_unasked(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt")
    project.call("prep")
    succeed(project, "a.txt")
    (project.folder / "inputs" / "a.txt").write_text("changed")
    assert project.call("prep") == 2
    assert "1 finished file is out of date" in capsys.readouterr().err
    assert project.content_of("a.txt") == b"content of a.txt"


def test_the_input_of_a_failed_job_may_be_corrected(project: Project) -> None:
    project.add("a.txt")
    project.call("prep")
    fail(project, "a.txt")
    (project.folder / "inputs" / "a.txt").write_text("corrected")
    assert project.call("prep") == 0
    assert project.content_of("a.txt") == b"corrected"
    assert parts(project) == [["a.txt"]]


def test_a_dry_run_tells_of_a_changed_environment(project: Project, capsys: Captured) -> None:
    project.add("a.txt")
    project.call("prep")
    project.call("prep", "--dry-run")
    assert "would replace" not in capsys.readouterr().err
    project.write_script("#!/bin/sh\necho another\n")
    project.call("prep", "--dry-run")
    assert "would replace the environment or the settings" in capsys.readouterr().err


def test_a_dry_run_names_some_of_many_files_and_says_how_many_more(
    project: Project, capsys: Captured
) -> None:
    project.add(*(f"{n}.txt" for n in range(50)))
    project.call("prep")
    project.add(*(f"more/{n}.txt" for n in range(50)))
    capsys.readouterr()
    project.call("prep", "--dry-run")
    lines = capsys.readouterr().err.splitlines()
    named = [line for line in lines if "would upload more/" in line]
    assert 0 < len(named) < 50
    assert f"(dry run) … and {50 - len(named)} more" in lines
    assert any("would add 50 inputs" in line for line in lines)


def without_environment(project: Project) -> None:
    settings = project.folder / "parallelize.toml"
    settings.write_text(settings.read_text().replace('env = "env/"\n', ""))
    for name in ("job.py", "merge.sh", "table.csv"):
        (project.folder / name).write_text("#!/bin/sh\n")
        (project.folder / name).chmod(0o755)
    (project.folder / "table.csv").write_text("a,b\n")
    project.add("a.txt")


def sent_with(project: Project) -> set[str]:
    environment = load_run(project.store, project.context).environment
    if environment is None or environment.key is None:
        return set()
    with zipfile.ZipFile(io.BytesIO(project.store.get(environment.key))) as opened:
        return {*opened.namelist()}


def test_scripts_beside_that_commands_name_are_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    without_environment(project)
    monkeypatch.setenv("PARALLELIZE_RUN_THEN", "sh merge.sh")
    assert project.call("prep", "--command", "python3 job.py {} --by=table.csv") == 0
    assert sent_with(project) == {"job.py", "merge.sh"}
    assert "the command names files that are not" not in capsys.readouterr().err


def test_a_changed_script_of_an_interpreter_counts(project: Project) -> None:
    without_environment(project)
    command = ("--command", "python3 job.py {}")
    assert project.call("prep", *command) == 0
    project.finish("a.txt", "a.csv")
    assert project.call("prep", *command) == 0
    (project.folder / "job.py").write_text("changed")
    assert project.call("prep", *command) == 2


def test_data_that_a_command_names_is_not_sent_and_that_is_said(
    project: Project, capsys: Captured
) -> None:
    without_environment(project)
    assert project.call("prep", "--command", "python3 job.py {} table.csv") == 0
    assert sent_with(project) == {"job.py"}
    told = capsys.readouterr().err
    assert "the command names files that are not sent: table.csv\n  jobs will not find them" in told
    assert "--env FOLDER" in told


def test_a_script_beside_an_environment_is_said_not_to_be_in_it(
    project: Project, capsys: Captured
) -> None:
    project.add("a.txt")
    project.write_script("#!/bin/sh\n")
    (project.folder / "job.py").write_text("")
    assert project.call("prep", "--command", "python3 job.py {}") == 0
    told = "the command names files that are not in the environment env/: job.py"
    assert told in capsys.readouterr().err
    (project.folder / "env" / "job.py").write_text("")
    assert project.call("prep", "--command", "python3 job.py {}") == 0
    assert "jobs will not find" not in capsys.readouterr().err
