"""What is said without botocore is what botocore says; where that is not known, it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import botocore
import pytest
from botocore.httpsession import where
from botocore.session import get_session

from parallelize_core.transport.endpoints import Endpoints
from parallelize_core.transport.plain import IGNORED, Plain
from parallelize_core.transport.pool import default_bundle
from parallelize_core.transport.role_keys import RoleKeys

REGIONS = get_session().get_available_regions("s3")
OTHERS = [
    "cn-north-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "aws-global",
    "",
    "eu-west-1.evil.example",
]
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"
NOTHING = {"HOME": "/nonexistent", "PATH": "/bin"}


def no_metadata(_: str) -> str | None:
    return None


def endpoints_of(region: str) -> Endpoints:
    session = get_session()
    session.set_config_variable("region", region)
    return Endpoints(lambda: session)


def plain(region: str = "eu-west-1", **environ: str) -> Plain | None:
    return Plain.of({**NOTHING, **environ}, region, no_metadata)


def known(region: str = "eu-west-1", **environ: str) -> Plain:
    found = plain(region, **environ)
    assert found
    return found


@pytest.mark.parametrize("region", REGIONS)
def test_a_bucket_and_a_queue_of_each_region_are_where_botocore_says(region: str) -> None:
    botocores = endpoints_of(region)
    assert known(region).of_bucket("bucket-1") == botocores.of_bucket("bucket-1")
    assert known(region).of_queues() == botocores.of_queues(QUEUE)


@pytest.mark.parametrize("address", ["http://127.0.0.1:5000", "http://localhost:81/"])
def test_a_local_cloud_is_where_botocore_says(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    here, botocores = known(AWS_ENDPOINT_URL=address), endpoints_of("eu-west-1")
    assert here.of_bucket("bucket-1") == botocores.of_bucket("bucket-1")
    assert here.of_queues() == botocores.of_queues(QUEUE)


@pytest.mark.parametrize("region", OTHERS)
def test_another_partition_is_left_to_botocore(region: str) -> None:
    assert plain(region) is None


@pytest.mark.parametrize(
    "bucket",
    [
        "dotted.bucket", "Old_Bucket", "ab", "-ab", "ab-", "a" * 64, "bucket--use1-az4--x-s3",
        "point-abc-s3alias", "xn--bucket", "sthree-bucket", "amzn-s3-demo-bucket", "UP/per",
        "arn:aws:s3:us-west-2:123456789012:accesspoint/point",
    ],
)  # fmt: skip
def test_a_bucket_with_an_odd_name_is_left_to_botocore(bucket: str) -> None:
    assert known().of_bucket(bucket) is None


@pytest.mark.parametrize(
    "variable",
    [
        {"AWS_PROFILE": "lab"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"},
        {"AWS_ENDPOINT_URL": "https://s3.example.org"},
        {"AWS_ENDPOINT_URL": "http://localhost:5000/below"},
        {"AWS_CA_BUNDLE": "/etc/bundle"},
        {"AWS_A_VARIABLE_OF_NEXT_YEAR": "x"},
        {"BOTO_CONFIG": "/etc/some.cfg"},
        {"https_proxy": "http://proxy:3128"},
        {"HTTPS_PROXY": "http://proxy:3128"},
    ],
    ids=lambda variable: next(iter(variable)),
)
def test_a_variable_that_only_botocore_follows_is_left_to_it(variable: dict[str, str]) -> None:
    assert plain(**variable) is None


def test_a_variable_that_says_nothing_changes_nothing() -> None:
    assert plain(AWS_PROFILE="", https_proxy="") is not None


def test_a_variable_of_other_programs_changes_nothing() -> None:
    assert plain(**dict.fromkeys(IGNORED, "1")) is not None
    # So it has to be one of which botocore knows nothing.
    for file in Path(botocore.__file__).parent.rglob("*.py"):
        text = file.read_text()
        assert not [name for name in IGNORED if name in text], file


def test_exceptions_from_a_proxy_that_is_not_set_say_nothing() -> None:
    assert plain(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1") is not None
    assert plain(NO_PROXY="127.0.0.1", HTTPS_PROXY="http://proxy:3128") is None


@pytest.mark.parametrize("name", [".aws/models/x", ".boto"])
def test_a_file_that_only_botocore_reads_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plain() is not None
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("[default]\n")
    assert plain() is None


def found_by(environ: Mapping[str, str]) -> object:
    find = known(**environ).find_keys
    return find and find()


def test_keys_of_the_environment_win_over_the_machines_role() -> None:
    given = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    found = known(**given, AWS_SESSION_TOKEN="token").find_keys
    assert found
    keys = found().get_frozen_credentials()
    assert (keys.access_key, keys.secret_key, keys.token) == ("id", "secret", "token")


def test_without_keys_in_the_environment_the_machines_role_is_asked() -> None:
    assert isinstance(found_by({}), RoleKeys)


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_ACCESS_KEY_ID": "id"},
        {"AWS_SECRET_ACCESS_KEY": "secret"},
        {"AWS_EC2_METADATA_DISABLED": "true"},
    ],
)
def test_where_there_are_no_keys_botocores_chain_says_so(environ: dict[str, str]) -> None:
    assert found_by(environ) is None


def test_outside_ec2_botocores_chain_is_asked_for_keys() -> None:
    found = Plain.of(NOTHING, "eu-west-1")
    assert found
    assert found.find_keys is None


def test_the_authorities_are_those_that_botocore_trusts() -> None:
    assert default_bundle() == where()
