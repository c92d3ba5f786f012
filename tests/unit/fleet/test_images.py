"""Which of the account's images is taken, in the shapes that EC2 answers with."""

import boto3
import pytest
from botocore.stub import Stubber

from parallelize.fleet.images import newest


def image(id_, architecture, created):
    return {
        "ImageId": id_, "Architecture": architecture, "CreationDate": created,
        "Tags": [{"Key": "parallelize:version", "Value": "0.1.0"}],
    }  # fmt: skip


OLD = image("ami-00000001", "x86_64", "2026-11-01T00:00:00.000Z")
NEW = image("ami-00000002", "x86_64", "2026-11-10T00:00:00.000Z")
ARM = image("ami-00000003", "arm64", "2026-11-20T00:00:00.000Z")

ASKED = {
    "Owners": ["self"],
    "Filters": [
        {"Name": "tag-key", "Values": ["parallelize:version"]},
        {"Name": "state", "Values": ["available"]},
    ],
}


@pytest.mark.parametrize(
    ("there", "architecture", "taken"),
    [
        ([NEW, OLD], "x86_64", "ami-00000002"),
        ([OLD, ARM, NEW], "x86_64", "ami-00000002"),
        ([OLD, ARM, NEW], "arm64", "ami-00000003"),
        ([ARM], "x86_64", "ami-00000003"),  # so that the launch says what does not fit
        ([], "x86_64", None),
    ],
)
def test_the_newest_finished_image_of_our_own_that_fits_is_taken(there, architecture, taken):
    ec2 = boto3.client(
        "ec2", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(ec2) as stub:
        stub.add_response("describe_images", {"Images": there}, ASKED)
        found = newest(ec2, architecture)
    assert (found.id if found else None) == taken
