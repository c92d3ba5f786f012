"""The command line as a whole: help, versions, exit codes and errors, without any service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.parsers import ResponseParserError

from parallelize import cli
from parallelize.commands.exit_codes import EXIT_CODES
from parallelize.explain import explain
from parallelize.local.cloud import default_state_dir
from parallelize.local.disk import Disk
from parallelize.local.s3.objects import Objects
from parallelize.options import common_of
from parallelize_core import errors
from parallelize_core.aws_errors import translate, translated


def test_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys; from parallelize import cli; assert cli.run(['--help']) == 0;"
        "slow = {'boto3', 'cyclopts', 'pydantic', 'rich'}; print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("tokens", [[], ["--help"], ["-h"]])
def test_the_overview_names_every_command_in_80_columns(
    tokens: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(tokens) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [
        command.name for command in cli.COMMANDS
    ]
    assert all(len(line) <= 80 for line in lines)


def test_the_overview_has_each_group_once() -> None:
    heads = [line for line in cli.overview().splitlines() if line.endswith(":")]
    assert len(heads) == len(set(heads))


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself(
    command: cli.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([command.name, "--help"]) == 0
    assert f"parallelize {command.name}" in capsys.readouterr().out


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_the_help_of_every_command_fits_in_80_columns(
    command: cli.Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    app = cli.make_app()[command.name]
    commands = [[command.name, name] for name in app if not name.startswith("-")]
    for words in [[command.name], *commands]:
        cli.run([*words, "--help"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(f"Usage: parallelize {' '.join(words)}")
        assert [line for line in lines if len(line) > 80] == []


def test_the_help_of_a_command_says_all_that_its_docstring_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.run(["run", "--help"])
    text = capsys.readouterr().out
    said = "Exits with 0 when every file has succeeded, with 1 when some have not."
    assert said in " ".join(text.split())


def test_a_long_explanation_goes_on_below_itself(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["repro", "--help"])
    lines = capsys.readouterr().out.splitlines()
    [first] = [number for number, line in enumerate(lines) if "--out PATH" in line]
    column = lines[first].index("Where input")
    assert lines[first + 1][:column].isspace()
    assert not lines[first + 1][column].isspace()


def test_help_explains_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["status", "--help"])
    page = capsys.readouterr().out
    assert cli.run(["help", "status"]) == 0
    assert capsys.readouterr().out == page


def test_a_shell_completes_commands_and_flags(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.run(["completion", "bash"]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out)
    ask = (
        'source "$0"; COMP_WORDS=(parallelize "$@"); COMP_CWORD=$#; _parallelize;'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )

    def completed(*words: str) -> list[str]:
        asked = ["bash", "-c", ask, script, *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()

    assert completed("fail") == ["failures"]
    assert completed("status", "--wa") == ["--watch"]


def test_every_error_has_an_exit_code_that_is_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {kind.exit_code for kind in kinds if issubclass(kind, errors.ParallelizeError)} <= set(
        EXIT_CODES
    )


@pytest.mark.parametrize("tokens", [["nope"], ["prep", "--nope"], ["enqueue", "--limit", "x"]])
def test_a_wrong_command_line_ends_with_2(
    tokens: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(tokens) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.out == ""


def denied(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "PutObject")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoCredentialsError(), 4),
        (denied("AccessDenied"), 4),
        (denied("ExpiredToken"), 4),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), 6),
        (ResponseParserError("Unable to parse response, invalid XML received:\n<html>"), 6),
        (denied("SlowDown"), 6),
        (denied("SomethingNew"), 6),
        (errors.NothingToDoError("nothing"), 3),
        (errors.CapacityError("none"), 5),
        (errors.LimitError("over"), 7),
        (PermissionError(13, "Permission denied", "x"), 2),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    told = explain(error if isinstance(error, OSError) else translate(error, "S3"))
    assert told is not None
    assert told.exit_code == code


@pytest.mark.parametrize("name", ["a\n\x1b[2J\udcff", b"a\n\x1b[2J\xff"])
def test_the_name_of_a_file_that_is_gone_steers_no_terminal(name: str | bytes) -> None:
    told = explain(FileNotFoundError(2, "No such file or directory", name))
    assert told is not None
    assert told.what == r"a\n\x1b[2J\udcff: No such file or directory"


@pytest.mark.parametrize(
    ("tokens", "profile"),
    [
        (["status"], "lab"),
        (["status", "--profile", "night shift"], "'night shift'"),
        (["status", "--config", "elsewhere.toml"], "NAME"),
    ],
)
def test_an_expired_session_names_the_profile_that_needs_a_login(
    tokens: list[str], profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parallelize.toml").write_text('schema = 1\n[aws]\nprofile = "lab"\n')
    (tmp_path / "elsewhere.toml").write_text("schema = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with pytest.raises(errors.AccessError) as caught, translated("S3"):
        raise denied("ExpiredToken")
    told = explain(caught.value, tokens, common_of(tokens).again())
    assert told is not None
    assert told.fix == f"aws sso login --profile {profile}"


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["setup", "--local", "--dry-run"], "the local cloud needs no stack"),
        (["launch", "-1"], "launch takes a number of workers, at least 1"),
        (["run", "--workers", "0"], "run needs at least one worker"),
        (["status", "more"], "parallelize status does not take: more"),
    ],
)
def test_what_cannot_be_meant_is_told_in_words(
    tokens: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.run(tokens) == 2
    assert f"error: {told}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tokens", "fix"),
    [
        (["nope"], "parallelize --help"),
        (["status", "--nope", "--local"], "parallelize status --help"),
        (["image", "build", "more"], "parallelize image build --help"),
        (["logs", "-odd/name.txt", "--local"], "parallelize logs --local -- -odd/name.txt"),
        (["repro", "--odd name"], "parallelize repro -- '--odd name'"),
    ],
)
def test_a_wrong_command_line_is_told_where_to_look(
    tokens: list[str], fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(tokens) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"  fix: {fix}"


def test_a_fault_of_the_program_is_not_dressed_up() -> None:
    assert explain(KeyError("x")) is None


def test_the_exit_codes_are_printed_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["help", "exit-codes"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(EXIT_CODES)


def test_config_show_names_the_source_of_each_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "parallelize.toml").write_text("[run]\ncommand = './x'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARALLELIZE_WORKERS_COUNT", "5")
    assert cli.run(["config", "show", "--region", "eu-west-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    found = {line.split()[0]: line.split()[-1] for line in lines}
    assert found["run.command"] == "parallelize.toml"
    assert (
        found["workers.count"] == "PARALLELIZE_WORKERS_…" or "PARALLELIZE" in found["workers.count"]
    )
    assert found["aws.region"] == "flag"


@pytest.mark.parametrize("closed", ["2>&-", ">&-"])
def test_a_stream_that_is_closed_gets_nothing_and_the_other_only_its_own(
    closed: str, tmp_path: Path
) -> None:
    program = Path(sys.executable).with_name("parallelize")
    command = f'"{program}" status --config "{tmp_path}/none.toml" {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert ("does not exist" in done.stderr) is (closed == ">&-")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--run", "scans"), True),
        (("--run", "other"), False),
        (("--run", "cans"), False),
        (("--run", "scans", "--local"), False),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        errors.AccessError("no AWS credentials found", fix="aws configure sso"),
        errors.NoRunError('there is no run "scans" in s3://b', fix="parallelize prep"),
    ],
    ids=repr,
)
def test_a_run_that_the_local_cloud_has_is_said_to_be_there(
    error: errors.ParallelizeError,
    flags: tuple[str, ...],
    *,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    disk = Disk(default_state_dir())
    objects = Objects(disk)
    objects.put("b", "p/runs/scans/run.json", objects.store(b"{}", "etag", {}), None)
    disk.close()
    shown = explain(type(error)(error.what, fix=error.fix), (), common_of(flags).again())
    assert shown is not None
    assert ("or add --local: the local cloud has this run" in str(shown)) is told
