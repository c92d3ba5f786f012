"""`image build` with a real Packer, in front of AWS's refusals: it starts a machine, and images it.

Debian's Packer is 1.6, which reads the template without the settings of today's; the machine takes
no commands, so its provisioning is left out (tests/image has that).
"""

import re
import shutil
import threading
from datetime import UTC, datetime

import boto3
import pytest
from moto.backends import get_backend
from moto.ec2.models.amis import Ami
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from tests.image.harness import needs
from tests.image.harness.packer import ACCOUNT, NEWER_THAN_DEBIANS
from tests.image.harness.tree import REPOSITORY
from tests.strict_aws.layer import World
from tests.strict_aws.plugin import make_layer
from tests.strict_aws.rules.machines import Architecture, VolumeSize
from tests.strict_aws.server import behind
from werkzeug.serving import make_server

from parallelize_core.version import VERSION

REGION = "eu-west-1"

BASES = {
    "debian-13": ("136693071363", "debian-13-amd64-20260101", 8),
    "ubuntu-24.04": (
        "099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260101", 8,
    ),
    "gpu": (
        "898082745236", "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20260101", 75,
    ),
}  # fmt: skip
"""The images to start from: owner, name, and how large the snapshot is, in GiB."""

BACKEND = f"""
from zipfile import ZipFile

def build_wheel(folder, *_):
    name, about = "parallelize-{VERSION}-py3-none-any.whl", "parallelize-{VERSION}.dist-info"
    with ZipFile(f"{{folder}}/{{name}}", "w") as made:
        words = "Metadata-Version: 2.1\\nName: parallelize\\nVersion: {VERSION}\\n"
        made.writestr(f"{{about}}/METADATA", words)
        made.writestr(f"{{about}}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        made.writestr(f"{{about}}/RECORD", "")
    return name
"""
"""Makes an empty wheel: nothing of it is looked at, and nothing has to be fetched."""


@pytest.fixture
def layer(monkeypatch):
    """EC2 with the base images, behind AWS's refusals; things happen at once."""
    if reason := needs.missing(needs.FOR_PACKER):
        pytest.skip(reason)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    ec2 = get_backend("ec2")[ACCOUNT][REGION]
    ec2.reset()
    for number, (owner, name, gib) in enumerate(BASES.values()):
        id_ = f"ami-0000000000000000{number}"
        ec2.amis[id_] = image = Ami(
            ec2, id_, name=name, owner_id=owner, public=True, architecture="x86_64",
            virtualization_type="hvm", root_device_type="ebs", root_device_name="/dev/xvda",
            creation_date=datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        image.ebs_snapshot.volume.size = gib
    layer = make_layer(World(scale=0))
    application = behind(layer, DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield layer
    server.shutdown()
    thread.join()
    ec2.reset()


@pytest.fixture
def source(layer, tmp_path, monkeypatch):
    """A checkout whose template Debian's Packer reads, and a Packer that needs no plugins."""
    for name in ("packer", "systemd", "docs"):
        shutil.copytree(REPOSITORY / name, tmp_path / "source" / name)
    folder = tmp_path / "source" / "packer"
    (folder / "plugins.pkr.hcl").unlink()
    template = folder / "worker.pkr.hcl"
    text = template.read_text(encoding="utf-8")
    for pattern in (*NEWER_THAN_DEBIANS, r"^  provisioner .*?^  \}\n"):
        text, found = re.subn(pattern, "", text, flags=re.MULTILINE | re.DOTALL)
        assert found, f"{pattern} is not in the template"
    endpoint = boto3.client("ec2", REGION, **KEYS).meta.endpoint_url
    emulated = (
        f'\n  custom_endpoint_ec2 = "{endpoint}"\n  skip_region_validation = true\n'
        "  skip_credential_validation = true\n  skip_metadata_api_check = true\n"
    )
    start = 'source "amazon-ebs" "worker" {\n'
    text = re.sub(r'communicator( +)= "ssh"', r'communicator\1= "none"', text)
    template.write_text(text.replace(start, start + emulated), encoding="utf-8")
    (folder.parent / "backend.py").write_text(BACKEND)
    (folder.parent / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbackend-path = ["."]\nbuild-backend = "backend"\n'
    )
    real, own = shutil.which("packer"), tmp_path / "bin"
    own.mkdir()
    (own / "packer").write_text(STAND_IN.format(real=real))
    (own / "packer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{own}:/usr/bin:/bin")
    for name, value in {
        "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1", "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_POLL_DELAY_SECONDS": "1",
        # By which the layer knows a call for one of the project's: it is in the user agent.
        "AWS_EXECUTION_ENV": "parallelize",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return folder.parent


STAND_IN = """#!/bin/sh
case $1 in
--version) echo 1.9.0 ;;
init) ;;
*) exec {real} "$@" ;;
esac
"""

KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}


def build(parallelize, source, *words):
    return parallelize("image", "build", "--source", str(source), *words)


NO_SIZE = pytest.mark.xfail(
    strict=True,
    reason="moto wants a size for each volume; EC2 takes the image's own for its root"
    " (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/block-device-mapping-concepts.html)",
)


@pytest.mark.parametrize("base", ["debian-13", "ubuntu-24.04", pytest.param("gpu", marks=NO_SIZE)])
def test_the_volume_is_as_large_as_the_bases_snapshot(layer, source, parallelize, base):
    code, out, err = build(parallelize, source, "--base", base)
    assert code == 0, err
    (image,) = boto3.client("ec2", REGION, **KEYS).describe_images(Owners=["self"])["Images"]
    assert out == f"{image['ImageId']}\n"
    assert {"Key": "parallelize:base", "Value": base} in image["Tags"]
    assert layer.rule(VolumeSize).acted is False


def test_the_gpu_base_asks_for_no_size_of_its_own_and_so_for_no_smaller_one(
    layer, source, parallelize
):
    _, _, err = build(parallelize, source, "--base", "gpu")
    assert "Error launching source instance: MissingParameter" in " ".join(err.split())
    assert not layer.refusals


def test_a_smaller_volume_is_refused_in_ec2s_words(layer, source, parallelize):
    versions = source / "packer" / "versions.auto.pkrvars.hcl"
    text = versions.read_text()
    versions.write_text(text.replace("volume_gib = null", "volume_gib = 50"))
    code, _, err = build(parallelize, source, "--base", "gpu")
    assert code != 0
    assert "expect size >= 75GB" in err
    assert layer.refusals[VolumeSize.__name__]


def test_gpu_with_arm64_is_refused_before_anything_is_asked_of_ec2(layer, source, parallelize):
    code, _, err = build(parallelize, source, "--base", "gpu", "--architecture", "arm64")
    assert code == 2
    assert "the base gpu is for amd64 only" in err
    assert not layer.refusals


def test_a_machine_of_another_architecture_than_the_base_does_not_start(layer, source, parallelize):
    versions = source / "packer" / "versions.auto.pkrvars.hcl"
    text = versions.read_text()
    versions.write_text(text.replace('"amd64" = "c7i.large"', '"amd64" = "c7g.large"'))
    code, _, err = build(parallelize, source)
    assert code != 0
    assert "does not match the architecture" in err
    assert layer.refusals[Architecture.__name__]
