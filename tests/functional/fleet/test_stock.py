"""Workers from a stock image: the script and the bundle that make them, as far as they run here.

tests/image/test_stock.py boots the machines.
"""

import ast
import base64
import hashlib
import io
import json
import os
import re
import shutil
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
from tests.functional.fleet.conftest import SYSTEMS
from tests.unit.fleet.examples import AGENT

from parallelize.fleet import bootstrap, bundle, stock
from parallelize.fleet.distributions import DEBIAN, NAMES, distribution
from parallelize.fleet.stock import Bundle
from parallelize.local.imds import MetadataServer
from parallelize_core.config import MAX_USER_DATA_BYTES, AgentConfig
from parallelize_core.errors import UsageError

BUNDLE = Bundle(
    "Debian 13", "https://s3.eu-west-1.amazonaws.com/b/runs/scans/bootstrap/x.zip", "0" * 64,
    "runs/scans/bootstrap/x.zip", sent=False, body=b"",
)  # fmt: skip
BY_AMI = pytest.mark.parametrize(("ami", "system"), SYSTEMS.items(), ids=SYSTEMS.keys())


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


PYTHON_39 = """
import pathlib, runpy, sys
script = runpy.run_path(sys.argv[1])
script["install"](script["fetch"](), pathlib.Path(sys.argv[2]))
"""


def test_the_oldest_python_of_the_three_runs_it(machine, bucket, tmp_path):
    old = shutil.which("python3.9")
    if old is None or subprocess.run([old, "-V"], check=False, capture_output=True).returncode:
        pytest.skip("needs python3.9, which Amazon Linux runs user data with")
    (tmp_path / "user-data").write_text(script_for(bucket, zipped(module="x = 1")))
    words = [old, "-I", "-c", PYTHON_39, tmp_path / "user-data", tmp_path / "here"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "module").read_text() == "x = 1"


@given(st.text(st.characters(codec="utf-8"), max_size=100))
def test_no_setting_can_break_out_of_the_script(text):
    agent = AGENT.model_copy(update={"prefix": text})
    assert settings_of(stock.user_data(agent, BUNDLE))["config"].get("prefix", "") == text


def test_the_script_leaves_room_for_the_configuration():
    assert len(stock.user_data(AGENT, BUNDLE).encode()) < MAX_USER_DATA_BYTES / 2


def test_the_oldest_python_of_the_three_understands_it():
    ast.parse(stock.user_data(AGENT, BUNDLE), feature_version=(3, 9))


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
    return loaded(script_for(bucket, body, sha256))


def script_for(bucket, body, sha256=None):
    """Return the user data of a machine whose bundle is in the bucket."""
    bucket.put_object(Bucket="bucket", Key="agent.zip", Body=body)
    url = f"{bucket.meta.endpoint_url}/bucket/agent.zip"
    right = hashlib.sha256(body).hexdigest()
    made = Bundle("Debian 13", url, sha256 or right, "agent.zip", sent=True, body=body)
    return stock.user_data(AGENT, made)


def test_the_bundle_is_fetched_with_the_machines_role_and_unpacked(machine, bucket, tmp_path):
    script = booted(bucket, zipped(module="x = 1"))
    script.install(script.fetch(), tmp_path / "here")
    assert (tmp_path / "here" / "module").read_text() == "x = 1"
    config = (tmp_path / "here" / "config.json").read_text()
    assert AgentConfig.decode(config, "config.json") == AGENT


def test_credentials_that_are_not_there_yet_are_waited_for(machine, bucket):
    script = booted(bucket, b"body")
    script.PATIENCE_SECONDS = (0, 0)
    answers = [OSError("503"), OSError("404"), b"body"]

    def fetch():
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert script.patiently(fetch) == b"body"


def test_another_bundle_than_that_of_the_launch_is_refused(machine, bucket):
    script = booted(bucket, zipped(module="evil"), sha256="0" * 64)
    with pytest.raises(ValueError, match="not the one"):
        script.fetch()


def names_in(body):
    return zipfile.ZipFile(io.BytesIO(body)).namelist()


def test_the_same_agent_makes_the_same_bundle_so_that_it_is_sent_once(wheels):
    made = {bundle.make_bundle(DEBIAN.python, "x86_64", wheels) for _ in range(2)}
    assert len(made) == 1


@pytest.mark.parametrize("architecture", bundle.PLATFORMS)
@BY_AMI
def test_a_bundle_has_the_wheels_for_the_python_of_its_system(wheels, ami, system, architecture):
    names = names_in(bundle.make_bundle(system.python, architecture, wheels))
    found = [name for name in names if name.startswith("wheels/")]
    assert found == [f"wheels/one-1.0-{system.python}-{architecture}.whl"]


def test_a_bundle_has_all_that_an_image_is_made_of(wheels):
    names = set(names_in(bundle.make_bundle(DEBIAN.python, "x86_64", wheels)))
    wheel = f"parallelize-{version('parallelize')}-py3-none-any.whl"
    steps = {"provision/all.sh", "provision/stock.sh", "provision/30-agent.sh"}
    units = {"systemd/parallelize-agent.service", "systemd/metadata.nft"}
    assert steps | units | {"requirements.txt", wheel} <= names


def test_without_the_wheels_pip_is_asked_and_what_it_says_is_told(tmp_path, monkeypatch):
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UsageError, match="pip cannot fetch") as refused:
        bundle.make_bundle(DEBIAN.python, "x86_64", tmp_path)
    assert "annotated-types" in refused.value.why
    assert list(tmp_path.iterdir()) == []


def test_pip_installs_the_agents_wheel_and_it_starts_and_knows_its_version(tmp_path):
    name, body = bundle.agent_wheel()
    (tmp_path / name).write_bytes(body)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    subprocess.run([*pip, f"--target={tmp_path / 'lib'}", tmp_path / name], check=True)
    libraries = Path(boto3.__file__).parent.parent
    (tmp_path / "libraries").mkdir()
    for one in libraries.iterdir():
        if "parallelize" not in one.name and not one.name.endswith(".pth"):
            (tmp_path / "libraries" / one.name).symlink_to(one)
    paths = [str(tmp_path / "lib"), str(tmp_path / "libraries")]
    done = subprocess.run(
        [sys.executable, "-S", tmp_path / "lib" / "bin" / "parallelize-agent", "--version"],
        env={"PYTHONPATH": ":".join(paths)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == version("parallelize"), done.stderr


def test_the_agents_wheel_has_nothing_of_the_client():
    _, body = bundle.agent_wheel()
    packages = {one.partition("/")[0] for one in names_in(body)}
    info = f"parallelize-{version('parallelize')}.dist-info"
    assert packages == {"parallelize_agent", "parallelize_core", info}


def test_a_system_that_is_not_known_is_refused_with_those_that_are(account, parallelize):
    account.prepare("scans")
    code, _, err = parallelize("launch", "1", "--ami", "stock:gentoo", "--run", "scans")
    assert code == 2
    assert 'no stock image "gentoo"' in err
    assert all(ami in err for ami in SYSTEMS)


def test_debian_may_be_named():
    assert distribution("stock:debian") == distribution("stock")


def user_data_of(account, machine):
    data = account.client("ec2").describe_instance_attribute(
        InstanceId=machine["InstanceId"], Attribute="userData"
    )["UserData"]["Value"]
    return base64.b64decode(data).decode()


def bundles(account, run="scans"):
    return [item.key for item in account.store.list(f"runs/{run}/bootstrap/")]


@BY_AMI
def test_a_launch_boots_the_vendors_image_and_sends_the_agent_that_the_machine_asks_for(
    account, parallelize, vendors, ami, system
):
    account.prepare("scans")
    code, _, err = parallelize("launch", "1", "--ami", ami, "--run", "scans")
    assert code == 0, err
    (machine,) = account.machines("scans")
    assert machine["ImageId"] == vendors[ami, "x86_64"]
    script = user_data_of(account, machine)
    assert len(script.encode()) < MAX_USER_DATA_BYTES
    settings = settings_of(script)
    body = account.store.get(settings["bundle"].partition("/bucket/")[2])
    assert hashlib.sha256(body).hexdigest() == settings["sha256"]
    assert f"wheels/one-1.0-{system.python}-x86_64.whl" in names_in(body)


def test_machines_with_arm_processors_get_the_image_and_the_wheels_for_them(
    account, parallelize, vendors
):
    account.prepare("scans")
    words = ("--ami", "stock:amazon", "--type", "c7g.xlarge", "--run", "scans")
    code, _, err = parallelize("launch", "1", *words)
    assert code == 0, err
    (machine,) = account.machines("scans")
    assert machine["ImageId"] == vendors["stock:amazon", "arm64"]
    assert "wheels/one-1.0-3.11-arm64.whl" in names_in(account.store.get(bundles(account)[0]))


def test_a_dry_launch_says_what_it_would_send_and_sends_nothing(account, parallelize, vendors):
    account.prepare("scans")
    words = ("launch", "1", "--ami", "stock:ubuntu", "--run", "scans")
    code, _, err = parallelize(*words, "--dry-run")
    assert code == 0, err
    assert re.search(r"agent +for Ubuntu 24.04, .*, will be sent first", err)
    assert bundles(account) == []
    parallelize(*words)
    assert "is in the bucket" in parallelize(*words, "--dry-run")[2]


@pytest.fixture
def project(account, tmp_path, monkeypatch):
    """A folder with an input and a command, whose machines come from Ubuntu's image."""
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "a.txt").write_text("a")
    (tmp_path / "env").mkdir()
    job = tmp_path / "env" / "job.sh"
    job.write_text("#!/bin/sh\n")
    job.chmod(0o755)
    (tmp_path / "parallelize.toml").write_text(
        '[run]\nname = "scans"\ncommand = "./job.sh"\nenv = "env/"\n'
        '[workers]\nami = "stock:ubuntu"\n'
    )


def test_prep_sends_the_agent_and_the_launch_only_looks_for_it(
    account, parallelize, vendors, project
):
    code, _, err = parallelize("prep", "--dry-run")
    assert "(dry run) would upload the agent for Ubuntu 24.04" in err
    assert bundles(account) == []
    code, _, err = parallelize("prep")
    assert code == 0, err
    assert "sending the agent for Ubuntu 24.04" in err
    sent = bundles(account)
    assert len(sent) == 1
    for words in (["prep"], ["enqueue"], ["launch", "1"]):
        code, _, err = parallelize(*words)
        assert code == 0, err
        assert "sending" not in err
    assert bundles(account) == sent


def test_a_launch_sends_what_prep_has_not_because_another_image_was_chosen_since(
    account, parallelize, vendors, project
):
    parallelize("prep")
    parallelize("enqueue")
    _, _, err = parallelize("launch", "1", "--ami", "stock")
    assert "sending the agent for Debian 13" in err
    assert len(bundles(account)) == 2


def test_prep_sends_no_agent_for_an_image_that_has_it(
    account, parallelize, vendors, project, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_AMI", "auto")
    code, _, err = parallelize("prep")
    assert code == 0, err
    assert bundles(account) == []


def test_every_name_has_its_system():
    assert all(system in SYSTEMS.values() for system in NAMES.values())
