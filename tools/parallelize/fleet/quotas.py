"""EC2's quotas limit the vCPUs that run at once, by class of machine and by market.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-limits.html
"""

from __future__ import annotations

import re

from parallelize.fleet.facts import Market

STANDARD = "standard"

GP3_STORAGE = "L-7A658B76"
"""How many TiB all gp3 volumes of a region may have; a quota of "ebs", 50 by default.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-resource-quotas.html
"""

_CLASSES = {
    "dl": "dl", "f": "f", "g": "g", "gr": "g", "vt": "g", "inf": "inf", "p": "p", "trn": "trn",
    "x": "x", "hpc": "hpc", "u": "u",
}  # fmt: skip

_CODES: dict[tuple[Market, str], str] = {
    ("spot", STANDARD): "L-34B43A08",
    ("spot", "g"): "L-3819A6DF",
    ("spot", "p"): "L-7212CCBC",
    ("spot", "x"): "L-E3A00192",
    ("spot", "f"): "L-88CF9481",
    ("spot", "inf"): "L-B5D1601B",
    ("spot", "dl"): "L-85EED4F7",
    ("spot", "trn"): "L-6B0D517C",
    ("on-demand", STANDARD): "L-1216C47A",
    ("on-demand", "g"): "L-DB2E81BA",
    ("on-demand", "p"): "L-417A185B",
    ("on-demand", "x"): "L-7295265B",
    ("on-demand", "f"): "L-74FC7D96",
    ("on-demand", "inf"): "L-1945791B",
    ("on-demand", "dl"): "L-6E869C2A",
    ("on-demand", "trn"): "L-2C3B7624",
}


def quota_class(instance_type: str) -> str:
    """Return the class that a type counts towards; most families are standard."""
    family = instance_type.partition(".")[0]
    letters = re.match(r"[a-z]*", family)
    return _CLASSES.get(letters.group() if letters else "", STANDARD)


def quota_code(market: Market, instance_type: str) -> str | None:
    """Return the code of the quota that limits a type in a market, or None if not known."""
    return _CODES.get((market, quota_class(instance_type)))
