"""The plain images that workers can start from: each vendor's name for the newest, its Python.

AWS publishes the names as public parameters, which no other account can write:
https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from parallelize.console import escape
from parallelize_core.errors import UsageError

STOCK = "stock"


class Distribution(NamedTuple):
    """A vendor's system; `python` is the version that packer/provision/distribution.sh installs.

    `parameters` names, for each architecture, the parameter that holds the newest image.
    """

    title: str
    python: str
    parameters: Mapping[str, str]


def _each(pattern: str, x86_64: str) -> dict[str, str]:
    return {"x86_64": pattern.format(x86_64), "arm64": pattern.format("arm64")}


DEBIAN = Distribution(
    "Debian 13",
    "3.13",
    # The wiki of Debian, page Cloud/AmazonEC2Image/Trixie
    _each("/aws/service/debian/release/13/latest/{}", "amd64"),
)
UBUNTU = Distribution(
    "Ubuntu 24.04",
    "3.12",
    # https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
    _each("/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id",
          "amd64"),
)  # fmt: skip
AMAZON = Distribution(
    "Amazon Linux 2023",
    "3.11",
    # https://docs.aws.amazon.com/linux/al2023/ug/ec2.html
    _each("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}", "x86_64"),
)

NAMES = {
    STOCK: DEBIAN,
    f"{STOCK}:debian": DEBIAN,
    f"{STOCK}:ubuntu": UBUNTU,
    f"{STOCK}:amazon": AMAZON,
}


def is_stock(ami: str) -> bool:
    """Whether `workers.ami` means a plain image, known or not."""
    return ami.partition(":")[0] == STOCK


def distribution(ami: str) -> Distribution:
    """Return the distribution that `workers.ami` names; raise UsageError for an unknown one."""
    if ami in NAMES:
        return NAMES[ami]
    raise UsageError(
        f'there is no stock image "{escape(ami.partition(":")[2])}"',
        "stock is Debian 13, stock:ubuntu is Ubuntu 24.04, stock:amazon Amazon Linux 2023",
        "--ami stock, --ami stock:ubuntu or --ami stock:amazon; or parallelize image build",
    )
