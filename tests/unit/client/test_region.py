"""Regions that do not exist are found out from botocore's own data, before any call."""

import os
import subprocess

import boto3
import pytest

from parallelize import cli
from parallelize.local.cloud import LocalCloud
from parallelize.local.records import CloudState
from parallelize.operations.local import exports
from parallelize.region import check_bucket, check_name
from parallelize_core.errors import UsageError


def session(region):
    return boto3.Session("a", "b", region_name=region)


def test_a_slip_in_a_regions_name_is_mended():
    with pytest.raises(UsageError) as refused:
        check_name(session("us-esat-1"), "AWS_REGION", {})
    error = refused.value
    assert error.what == 'region "us-esat-1" is not an AWS region (from AWS_REGION)'
    assert error.why == "did you mean us-east-1?"


@pytest.mark.parametrize("name", ["eu-west-1", "us-gov-west-1", "cn-north-1", None])
def test_regions_of_every_partition_are_known(name, monkeypatch):
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    check_name(session(name), "flag", {})


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"])
def test_with_an_endpoint_of_ones_own_a_region_may_be_called_anything(variable):
    check_name(session("garage"), "flag", {variable: "http://127.0.0.1:1"})


@pytest.mark.parametrize(
    ("words", "variable", "source"),
    [
        (["--region", "us-esat-1"], {}, "--region"),
        ([], {"AWS_REGION": "us-esat-1"}, "AWS_REGION"),
        ([], {"PARALLELIZE_REGION": "us-esat-1"}, "PARALLELIZE_REGION"),
    ],
)
@pytest.mark.parametrize("command", ["status", "kill", "prep"])
def test_a_command_ends_with_exit_code_2_before_any_call(
    command, words, variable, source, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "a.txt").write_text("a")
    (tmp_path / "parallelize.toml").write_text('[run]\ncommand = "true"\n')
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    assert cli.run([command, *words]) == 2
    assert f'"us-esat-1" is not an AWS region (from {source})' in capsys.readouterr().err


def test_a_bucket_in_another_region_is_named_with_both():
    with pytest.raises(UsageError) as refused:
        check_bucket("scans-x", "us-west-2", "eu-west-1", "parallelize.toml")
    error = refused.value
    assert error.what == "bucket scans-x is in us-west-2, but this run uses eu-west-1"
    assert error.why == "(region set in parallelize.toml)"
    assert "--region us-west-2" in error.fix


@pytest.mark.parametrize("there", ["eu-west-1", ""])
def test_a_bucket_that_is_here_or_says_nothing_is_taken(there):
    check_bucket("scans-x", there, "eu-west-1", "flag")


@pytest.mark.parametrize("flag", ["--region", "--profile"])
@pytest.mark.parametrize("command", ["status", "run"])
def test_a_place_in_aws_and_the_local_cloud_are_not_both_meant(command, flag, capsys):
    assert cli.run([command, "--local", flag, "eu-west-1"]) == 2
    assert f"error: {flag} cannot be combined with --local" in capsys.readouterr().err


OURS = {
    "PARALLELIZE_PROFILE": "lab", "PARALLELIZE_REGION": "eu-west-1",
    "PARALLELIZE_AWS_PROFILE": "lab", "PARALLELIZE_AWS_REGION": "eu-west-1", "AWS_PROFILE": "lab",
}  # fmt: skip


@pytest.fixture
def cloud(tmp_path):
    state = CloudState(
        pid=1, started=1.0, endpoint="http://127.0.0.1:1", port=1, token="t", secret="s"
    )
    return LocalCloud(tmp_path, state)


def test_no_profile_or_region_of_the_user_survives_into_the_local_cloud(cloud):
    found = cloud.child_environ({**OURS, "PARALLELIZE_WORKERS_COUNT": "2"})
    assert not found.keys() & OURS.keys()
    assert found["PARALLELIZE_WORKERS_COUNT"] == "2"


def test_a_shell_that_is_led_to_the_local_cloud_forgets_them_too(cloud):
    script = "\n".join([*exports(cloud), "env"])
    done = subprocess.run(
        ["sh", "-c", script], env={"PATH": os.environ["PATH"], **OURS},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert not found & OURS.keys()
    assert "AWS_ENDPOINT_URL" in found
