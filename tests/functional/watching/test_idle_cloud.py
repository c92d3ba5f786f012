import os
from pathlib import Path

import pytest
from tests.e2e.conftest import wait_until

from parallelize import cli
from parallelize.local.cloud import attach, start
from parallelize.local.enter import enter_local_cloud
from parallelize_core.errors import UsageError


def test_a_local_cloud_that_nobody_uses_ends_by_itself(state: Path) -> None:
    start(daemon_options=("--idle-seconds", "0.5"))
    assert wait_until(lambda: attach() is None)


def test_a_command_is_led_to_it_and_away_from_the_users_account(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = start()
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere")
    enter_local_cloud()
    assert os.environ["AWS_ENDPOINT_URL"] == cloud.endpoint
    assert not {"AWS_PROFILE", "AWS_ENDPOINT_URL_S3"} & os.environ.keys()


def test_without_a_local_cloud_nothing_goes_to_aws_instead(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["status", "--local"]) == UsageError.exit_code
    assert "parallelize run --local" in capsys.readouterr().err


def test_what_local_start_prints_leads_a_shell_there(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["local", "start"]) == 0
    cloud = attach()
    assert cloud is not None
    assert f"export AWS_ENDPOINT_URL={cloud.endpoint}" in capsys.readouterr().out.splitlines()
    assert cli.run(["local", "kill", "i-nobody"]) == UsageError.exit_code
    assert cli.run(["local", "stop"]) == 0
    assert attach() is None
