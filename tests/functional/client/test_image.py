"""`image list` and `image prune` against an emulated EC2; `image build` without Packer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from parallelize import cli

REGION = "eu-west-1"


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An account in an emulated EC2."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION,
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


def make_image(ec2: Any, name: str, *, ours: bool = True) -> str:
    image = str(ec2.register_image(Name=name, RootDeviceName="/dev/xvda")["ImageId"])
    if ours:
        tags = {"parallelize:version": "1.0", "parallelize:base": "debian-13"}
        given = [{"Key": key, "Value": value} for key, value in tags.items()]
        ec2.create_tags(Resources=[image], Tags=given)
    return image


def images_left(ec2: Any) -> set[str]:
    return {image["ImageId"] for image in ec2.describe_images(Owners=["self"])["Images"]}


def test_the_list_has_only_images_with_an_agent(
    ec2: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, _ = make_image(ec2, "ours"), make_image(ec2, "other", ours=False)
    assert cli.run(["image", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["images"]
    assert (listed["id"], listed["version"], listed["base"]) == (ours, "1.0", "debian-13")


def test_prune_keeps_what_any_version_of_a_launch_template_uses(ec2: Any) -> None:
    used, stranger = make_image(ec2, "used"), make_image(ec2, "stranger", ours=False)
    free = [make_image(ec2, f"free {number}") for number in range(3)]
    ec2.create_launch_template(LaunchTemplateName="run", LaunchTemplateData={"ImageId": used})
    ec2.create_launch_template_version(
        LaunchTemplateName="run", LaunchTemplateData={"ImageId": "ami-12345678"}
    )
    assert cli.run(["image", "prune", "--keep", "1", "--yes"]) == 0
    left = images_left(ec2)
    assert {used, stranger} <= left
    assert len(left & set(free)) <= 1


def test_prune_keeps_what_a_machine_was_started_from(ec2: Any) -> None:
    used = make_image(ec2, "used")
    ec2.run_instances(ImageId=used, MinCount=1, MaxCount=1)
    for number in range(3):
        make_image(ec2, f"free {number}")
    assert cli.run(["image", "prune", "--keep", "1", "--yes"]) == 0
    assert used in images_left(ec2)


def test_a_dry_run_of_prune_deletes_nothing_and_marks_each_line(
    ec2: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {make_image(ec2, f"image {number}") for number in range(3)}
    assert cli.run(["image", "prune", "--keep", "1", "--dry-run"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("(dry run) would delete ami-") for line in lines)
    assert images_left(ec2) == made


def test_with_nothing_to_prune_the_exit_code_says_so(ec2: Any) -> None:
    make_image(ec2, "the only one")
    assert cli.run(["image", "prune"]) == 3


def test_without_packer_build_says_where_to_get_it(
    ec2: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert cli.run(["image", "build"]) == 2
    told = capsys.readouterr().err
    assert "error: Packer is not installed" in told
    assert "https://developer.hashicorp.com/packer/install" in told


@pytest.mark.parametrize("told", ["1.6.6", "Packer v1.8.7\\n\\nYour version is out of date!"])
def test_an_old_packer_is_named_before_anything_is_built(
    ec2: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "packer").write_text(f"#!/bin/sh\nprintf '{told}'\n")
    (tmp_path / "packer").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.run(["image", "build"]) == 2
    text = capsys.readouterr().err
    assert "is too old" in text
    assert "the image needs 1.9 or later" in text
    assert "step 1" not in text


def test_a_dry_run_of_build_prints_the_commands_even_without_packer(
    ec2: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert cli.run(["image", "build", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("(dry run) ") for line in lines)
    assert any("packer build" in line for line in lines)
