"""Workers from a stock image: the script that makes them, as far as this machine can run it."""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from moto.ssm.models import ssm_backends
from tests.functional.fleet.conftest import REGION
from tests.unit.fleet.examples import AGENT

from parallelize.fleet import bootstrap, stock
from parallelize.fleet.stock import Bundle
from parallelize.local.imds import MetadataServer
from parallelize_core.config import MAX_USER_DATA_BYTES, AgentConfig
from parallelize_core.errors import UsageError

BUNDLE = Bundle("https://s3.eu-west-1.amazonaws.com/b/runs/scans/bootstrap/x.zip", "0" * 64)


def loaded(script):
    """Return the script as a module that has not begun to do anything."""
    module = ModuleType("user_data")
    exec(compile(script, "user data", "exec"), vars(module))
    return module


def settings_of(script):
    return loaded(script).SETTINGS


def test_the_script_carries_the_agents_configuration():
    settings = settings_of(stock.user_data(AGENT, BUNDLE))
    assert AgentConfig.decode(json.dumps(settings["config"]), "script") == AGENT
    assert (settings["bundle"], settings["sha256"]) == (BUNDLE.url, BUNDLE.sha256)


def test_a_machine_is_off_half_an_hour_after_its_workers_last_minute():
    assert settings_of(stock.user_data(AGENT, BUNDLE))["minutes"] == 12 * 60 + 30


@given(st.text(st.characters(codec="utf-8"), max_size=100))
def test_no_setting_can_break_out_of_the_script(text):
    agent = AGENT.model_copy(update={"prefix": text})
    assert settings_of(stock.user_data(agent, BUNDLE))["config"].get("prefix", "") == text


def test_the_script_leaves_room_for_the_configuration():
    assert len(stock.user_data(AGENT, BUNDLE).encode()) < MAX_USER_DATA_BYTES / 2


def test_cloud_init_runs_it_as_a_script():
    assert stock.user_data(AGENT, BUNDLE).startswith("#!/usr/bin/env python3\n")


def test_its_signature_is_the_one_that_botocore_makes():
    time = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    role = {"AccessKeyId": "AKID", "SecretAccessKey": "secret", "Token": "token"}
    ours = bootstrap.signed_request(BUNDLE.url, "eu-west-1", role, time)
    theirs = AWSRequest("GET", BUNDLE.url, headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    auth = S3SigV4Auth(Credentials("AKID", "secret", "token"), "s3", "eu-west-1")
    theirs.context.update(timestamp="20261120T120000Z", payload_signing_enabled=False)
    theirs.headers["X-Amz-Date"] = "20261120T120000Z"
    theirs.headers["X-Amz-Security-Token"] = "token"
    signature = auth.signature(auth.string_to_sign(theirs, auth.canonical_request(theirs)), theirs)
    assert re.search("Signature=(.*)", ours.get_header("Authorization"))[1] == signature


class Machine:
    """What a metadata service of a machine in EC2 tells."""

    def metadata(self):
        role = {"AccessKeyId": "AKID", "SecretAccessKey": "secret", "Token": "token"}
        return {
            "meta-data/placement/region": "eu-west-1",
            "meta-data/iam/security-credentials/parallelize-agent": json.dumps(role),
        }


@pytest.fixture
def machine(monkeypatch):
    server = MetadataServer(Machine())
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.endpoint)
    yield server
    server.close()


@pytest.fixture
def bucket():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3 = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="a", aws_secret_access_key="b",
    )  # fmt: skip
    s3.create_bucket(Bucket="bucket")
    yield s3
    server.stop()


def zipped(**files):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    return body.getvalue()


def booted(bucket, body, sha256=None):
    """Return the user data of a machine whose bundle is in the bucket, loaded there."""
    bucket.put_object(Bucket="bucket", Key="agent.zip", Body=body)
    url = f"{bucket.meta.endpoint_url}/bucket/agent.zip"
    bundle = Bundle(url, sha256 or hashlib.sha256(body).hexdigest())
    return loaded(stock.user_data(AGENT, bundle))


def test_the_bundle_is_fetched_with_the_machines_role_and_unpacked(machine, bucket, tmp_path):
    script = booted(bucket, zipped(module="x = 1"))
    script.install(script.fetch(), tmp_path / "lib")
    assert (tmp_path / "lib" / "module").read_text() == "x = 1"
    assert [path.name for path in tmp_path.iterdir()] == ["lib"]


def test_another_bundle_than_that_of_the_launch_is_refused(machine, bucket):
    script = booted(bucket, zipped(module="evil"), sha256="0" * 64)
    with pytest.raises(ValueError, match="not the one"):
        script.fetch()


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Lead pip to a folder with a wheel for each pin, which needs no network.

    The wheels are empty: the real ones are for Debian's Python, and what is in them is not ours.
    """
    folder = tmp_path / "wheels"
    folder.mkdir()
    for pin in stock.pins():
        name, _, number = pin.partition("==")
        write_wheel(folder, name.replace("-", "_"), number)
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder, name, number):
    info = f"{name}-{number}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{number}-py3-none-any.whl", "w") as wheel:
        described = f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
        wheel.writestr(f"{info}/METADATA", described)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def test_the_bundles_versions_are_those_that_run_here():
    names = {pin.partition("==")[0] for pin in stock.pins()}
    assert {"boto3", "botocore", "pydantic", "pydantic-core", "structlog"} <= names
    # What only the client needs never reaches a worker.
    assert not names & {"cyclopts", "rich", "moto", "platformdirs"}


def test_the_same_agent_makes_the_same_zip_so_that_it_is_sent_once(wheels, tmp_path):
    names = [stock.make_bundle(tmp_path / name, "x86_64") for name in ("one.zip", "two.zip")]
    assert names[0] == names[1]


def test_a_library_that_pip_cannot_fetch_is_named(wheels, tmp_path):
    for wheel in wheels.glob("boto3-*"):
        wheel.unlink()
    with pytest.raises(UsageError, match="pip cannot fetch") as refused:
        stock.make_bundle(tmp_path / "agent.zip", "x86_64")
    assert "boto3" in refused.value.why


def test_the_agent_of_the_bundle_starts_and_knows_its_version(wheels, tmp_path):
    stock.make_bundle(tmp_path / "agent.zip", "x86_64")
    zipfile.ZipFile(tmp_path / "agent.zip").extractall(tmp_path / "lib")
    libraries = Path(boto3.__file__).parent.parent
    (tmp_path / "libraries").mkdir()
    for one in libraries.iterdir():
        if "parallelize" not in one.name and not one.name.endswith(".pth"):
            (tmp_path / "libraries" / one.name).symlink_to(one)
    paths = [str(tmp_path / "lib"), str(tmp_path / "libraries")]
    done = subprocess.run(
        [sys.executable, "-S", "-m", "parallelize_agent", "--version"],
        env={"PYTHONPATH": ":".join(paths)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == version("parallelize"), done.stderr


def name_as_debian_does(account, image):
    """Let moto have an image under a name that only AWS may give."""
    account.client("ssm").put_parameter(Name="/our/image", Value=image, Type="String")
    known = ssm_backends["123456789012"][REGION]._parameters
    known[stock.PARAMETERS["x86_64"]] = known.pop("/our/image")


def test_launching_from_the_stock_image_sends_the_agent_and_boots_debian(
    account, parallelize, wheels
):
    debian = account.client("ec2").register_image(Name="debian-13")["ImageId"]
    name_as_debian_does(account, debian)
    account.prepare("scans")
    code, _, err = parallelize("launch", "1", "--ami", "stock", "--run", "scans")
    assert code == 0, err
    (machine,) = account.machines("scans")
    assert machine["ImageId"] == debian
    data = account.client("ec2").describe_instance_attribute(
        InstanceId=machine["InstanceId"], Attribute="userData"
    )["UserData"]["Value"]
    settings = settings_of(base64.b64decode(data).decode())
    key = settings["bundle"].partition("/bucket/")[2]
    body = account.store.get(key)
    assert hashlib.sha256(body).hexdigest() == settings["sha256"]
    assert "parallelize_agent/cli.py" in zipfile.ZipFile(io.BytesIO(body)).namelist()
