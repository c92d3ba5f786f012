"""Machines as a user wants them: of both architectures, and from images of others."""

import pytest
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from tests.functional.fleet.conftest import REGION

OWNER = "999999999999"


@pytest.fixture
def scans(account):
    return account.prepare("scans")


def known(account, image):
    return ec2_backends["123456789012"][REGION].amis[image]


@pytest.fixture
def arm_image(account):
    """A second image of ours, for the other architecture."""
    ec2 = account.client("ec2")
    image = ec2.register_image(Name="arm", RootDeviceName="/dev/sda1")["ImageId"]
    ec2.create_tags(Resources=[image], Tags=[{"Key": "parallelize:version", "Value": "0.1.0"}])
    known(account, image).architecture = "arm64"
    return image


@pytest.fixture
def foreign_image(account):
    """An image that another account has made and shares; its tags are not to be seen."""
    name = "parallelize-0.1.0-debian-13-amd64-20261101-000000"
    image = account.client("ec2").register_image(Name=name, RootDeviceName="/dev/sda1")["ImageId"]
    known(account, image).owner_id = OWNER
    return image


def test_graviton_and_x86_are_one_fleet_with_an_image_for_each(
    account, scans, arm_image, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "c7i.xlarge,c7g.xlarge")
    code, _, err = parallelize("launch", "4", "--run", "scans")
    assert code == 0, err
    assert f"{account.image} parallelize 0.1.0" in err
    assert f"{arm_image} parallelize 0.1.0" in err
    images = {"c7i.xlarge": account.image, "c7g.xlarge": arm_image}
    machines = account.machines("scans")
    assert len(machines) == 4
    assert all(one["ImageId"] == images[one["InstanceType"]] for one in machines)


def test_a_group_of_both_has_a_template_for_each(
    account, scans, arm_image, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "c7i.xlarge,c7g.xlarge")
    code, _, err = parallelize("launch", "2", "--fleet", "persistent", "--run", "scans")
    assert code == 0, err
    template = account.group("scans")["MixedInstancesPolicy"]["LaunchTemplate"]
    versions = {
        one["VersionNumber"]: one["LaunchTemplateData"]["ImageId"]
        for one in account.client("ec2").describe_launch_template_versions(
            LaunchTemplateName="parallelize-scans"
        )["LaunchTemplateVersions"]
    }
    default = template["LaunchTemplateSpecification"]
    used = {
        one["InstanceType"]: versions[
            int(one.get("LaunchTemplateSpecification", default)["Version"])
        ]
        for one in template["Overrides"]
    }
    assert used == {"c7i.xlarge": account.image, "c7g.xlarge": arm_image}


def test_two_ids_are_an_image_for_each_architecture(
    account, scans, arm_image, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "c7i.xlarge,c7g.xlarge")
    monkeypatch.setenv("PARALLELIZE_WORKERS_AMI", f"{arm_image}, {account.image}")
    _, _, err = parallelize("launch", "2", "--dry-run", "--run", "scans")
    assert f"{account.image} parallelize 0.1.0 " in err
    assert f"{arm_image} parallelize 0.1.0 " in err


def test_both_architectures_of_a_stock_image_get_a_bundle(
    account, scans, vendors, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "c7i.xlarge,c7g.xlarge")
    code, _, err = parallelize("launch", "2", "--ami", "stock", "--run", "scans")
    assert code == 0, err
    sent = [info.key for info in account.store.list("runs/scans/bootstrap/")]
    assert len(sent) == 2
    assert vendors["stock", "x86_64"] in err
    assert vendors["stock", "arm64"] in err


def test_an_image_of_another_account_is_refused_until_its_owner_is_named(
    account, scans, foreign_image, parallelize, monkeypatch
):
    code, _, err = parallelize("launch", "1", "--ami", foreign_image, "--run", "scans")
    assert code == 2
    assert f"image {foreign_image} belongs to account {OWNER}" in err
    assert f'workers.ami_owner = "{OWNER}"' in err
    assert account.machines("scans") == []
    monkeypatch.setenv("PARALLELIZE_WORKERS_AMI_OWNER", OWNER)
    code, _, err = parallelize("launch", "1", "--ami", foreign_image, "--run", "scans")
    assert code == 0, err
    assert [one["ImageId"] for one in account.machines("scans")] == [foreign_image]


def test_an_image_that_a_parameter_of_ours_names_is_looked_at_as_well(
    account, scans, foreign_image, parallelize
):
    account.client("ssm").put_parameter(Name="/our/image", Value=foreign_image, Type="String")
    code, _, err = parallelize("launch", "1", "--ami", "ssm:/our/image", "--run", "scans")
    assert code == 2
    assert f"belongs to account {OWNER}" in err


def test_auto_takes_the_newest_image_of_the_owner_by_its_name(
    account, scans, foreign_image, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_AMI_OWNER", OWNER)
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 0, err
    assert f"{foreign_image} parallelize 0.1.0" in err


def test_an_owner_that_is_no_account_is_an_error(account, scans, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_AMI_OWNER", "everybody")
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 2
    assert "workers.ami_owner is wrong" in err


def types_of(err):
    line = next(line for line in err.splitlines() if "types" in line)
    return line.split("types")[1].split("(")[0]


def test_machines_are_chosen_by_what_they_have(account, scans, parallelize, monkeypatch):
    monkeypatch.delenv("PARALLELIZE_WORKERS_TYPES")
    monkeypatch.setenv("PARALLELIZE_WORKERS_MEMORY", "30GiB-32GiB")
    monkeypatch.setenv("PARALLELIZE_WORKERS_VCPUS", "4-4")
    code, _, err = parallelize("launch", "3", "--run", "scans")
    assert code == 0, err
    for machine in account.machines("scans"):
        kind = INSTANCE_TYPES[machine["InstanceType"]]
        assert kind["VCpuInfo"]["DefaultVCpus"] == 4
        assert 30 * 1024 <= kind["MemoryInfo"]["SizeInMiB"] <= 32 * 1024
        assert "GpuInfo" not in kind
    assert "more" in types_of(err)


def test_a_list_of_types_limits_what_requirements_find(account, scans, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "c7i.*,m7i.*")
    monkeypatch.setenv("PARALLELIZE_WORKERS_VCPUS", "4-4")
    code, _, err = parallelize("launch", "1", "--dry-run", "--run", "scans")
    assert code == 0, err
    assert {name.strip() for name in types_of(err).split(",")} == {"c7i.xlarge", "m7i.xlarge"}


def test_accelerators_are_there_if_asked_for(account, scans, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "g5.*")
    monkeypatch.setenv("PARALLELIZE_WORKERS_VCPUS", "1-16")
    monkeypatch.setenv("PARALLELIZE_WORKERS_ACCELERATORS", "1-1")
    code, _, err = parallelize("launch", "1", "--dry-run", "--run", "scans")
    assert code == 0, err
    assert types_of(err).strip().startswith("g5.")


def test_requirements_that_nothing_meets_are_refused(account, scans, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", "c7i.*")
    monkeypatch.setenv("PARALLELIZE_WORKERS_ACCELERATORS", "8")
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 2
    assert "no machine type of this region meets the requirements" in err


def test_requirements_that_too_many_meet_are_refused(account, scans, parallelize, monkeypatch):
    monkeypatch.delenv("PARALLELIZE_WORKERS_TYPES")
    monkeypatch.setenv("PARALLELIZE_WORKERS_VCPUS", "1")
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 2
    assert "machine types meet the requirements, but a launch takes 200" in err


@pytest.mark.parametrize(
    ("name", "value"), [("VCPUS", "four"), ("VCPUS", "8-4"), ("MEMORY", "8-lots")]
)
def test_a_range_that_is_none_is_an_error(account, parallelize, monkeypatch, name, value):
    monkeypatch.setenv(f"PARALLELIZE_WORKERS_{name}", value)
    code, _, err = parallelize("launch", "1", "--run", "scans")
    assert code == 2
    assert f"workers.{name.lower()} is wrong" in err
