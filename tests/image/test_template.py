"""Packer makes the image: the template is built for real, and the result boots and works."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.image.harness import needs, tree
from tests.image.harness.container import Container, containers
from tests.image.harness.machine import environment, wait_for_power_off, wait_until
from tests.image.harness.network import private_network
from tests.image.harness.packer import older_template, packer, publish_base_images
from tests.image.harness.services import ENDPOINT, REGION, bench, shell

from parallelize_core.version import VERSION

ADDRESS = "10.0.2.50"


@dataclass(frozen=True)
class Built:
    """What a build left: the image in EC2, the instance's tree, Packer's words and manifest."""

    image: dict[str, Any]
    tree: Path
    log: str
    manifest: dict[str, Any]


@pytest.fixture(scope="module")
def built(shared_folder: Path) -> Built:
    """Build the image once for all processes of the test session."""
    if reason := needs.missing((*needs.FOR_CONTAINERS, *needs.FOR_PACKER)):
        pytest.skip(reason)
    folder = shared_folder / "packer"
    with tree.only_one(folder):
        if not (folder / "image.json").exists():
            folder.mkdir(exist_ok=True)
            build_image(folder, tree.built_wheel(shared_folder))
    return Built(
        json.loads((folder / "image.json").read_text()),
        folder / "instance",
        (folder / "packer.log").read_text(),
        json.loads((folder / "build" / "packer" / "manifest.json").read_text()),
    )


def build_image(folder: Path, wheel: Path) -> None:
    """Let Packer make an image of a container, and keep what EC2 says of the image."""
    plain = make_instance(folder)
    with pytest.MonkeyPatch.context() as patch:
        # Five hundred images that are of no interest here.
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        with private_network(folder), bench(), containers() as started:
            publish_base_images()
            instance = Container(plain, folder, (), keep_changes=True)
            started.append(instance)
            wait_until(instance, lambda: tree.answers(ADDRESS, 22), "an SSH server")
            (folder / "packer.log").write_text(run_packer(folder, wheel))
            instance.press_power_button()
            ec2 = boto3.client("ec2", **CLIENT)
            (image,) = ec2.describe_images(Owners=["self"])["Images"]
            (folder / "image.json").write_text(json.dumps(image, default=str))


CLIENT: dict[str, Any] = {
    "endpoint_url": ENDPOINT, "region_name": REGION,
    "aws_access_key_id": "local", "aws_secret_access_key": "local",
}  # fmt: skip


def make_instance(folder: Path) -> Path:
    """Make a plain Debian that will let Packer in, as cloud-init arranges it on EC2."""
    plain = folder / "instance"
    plain.mkdir()
    tree.run("tar", "--zstd", "-xf", tree.base_archive(), "-C", plain)
    tree.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key")
    tree.prepare_for_packer(plain, (folder / "key.pub").read_text(), ADDRESS)
    return plain


def run_packer(folder: Path, wheel: Path) -> str:
    """Run Packer; return what it printed."""
    template = older_template(folder / "build", ADDRESS, folder / "key")
    variables = (f"wheel={wheel}", f"agent_version={VERSION}")
    words = [word for variable in variables for word in ("-var", variable)]
    packer("validate", *words, ".", folder=template)
    return packer("build", *words, ".", folder=template)


def test_the_check_of_the_machine_passes_before_the_image_is_taken(built: Built) -> None:
    checked = built.log.index("each machine makes its own machine-id")
    assert checked < built.log.index("Creating AMI")
    assert "FAIL" not in built.log


def test_the_image_starts_from_debians_own_whoever_else_uses_the_name(built: Built) -> None:
    assert "Found Image ID: ami-00000000000000001" in built.log


def test_launch_finds_the_image_by_the_agents_version(built: Built) -> None:
    tags = {tag["Key"]: tag["Value"] for tag in built.image["Tags"]}
    assert tags["parallelize:version"] == VERSION


def test_the_manifest_names_the_image(built: Built) -> None:
    (artifact,) = built.manifest["builds"]
    assert artifact["artifact_id"] == f"{REGION}:{built.image['ImageId']}"
    assert artifact["custom_data"]["agent_version"] == VERSION


def test_nothing_of_the_build_is_left_in_the_image(built: Built) -> None:
    left = [*built.tree.glob("home/*/.ssh/authorized_keys"), *built.tree.glob("etc/ssh/ssh_host_*"),
            *(built.tree / "tmp").glob("parallelize*")]  # fmt: skip
    assert left == []
    assert (built.tree / "etc" / "machine-id").read_text() in {"", "uninitialized\n"}


def test_a_machine_from_the_image_does_a_run(built: Built, tmp_path: Path) -> None:
    with private_network(tmp_path), bench() as services, containers() as started:
        layout = services.start_run("built", shell("echo done >out; echo out"), inputs=1)
        words = tuple(environment(services.environment))
        started.append(Container(built.tree, tmp_path, words))
        wait_for_power_off(started[0])
        assert services.output(layout, "out") == "done\n"
