"""A worker's root volume, always of EBS's type gp3: its size and its speed.

https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parallelize_core.errors import UsageError

INCLUDED_IOPS = 3000
INCLUDED_MIBPS = 125
"""MiB/s that every gp3 volume has at no extra charge."""

IOPS_PER_GIB = 500
IOPS_PER_MIBPS = 4


@dataclass(frozen=True)
class Disk:
    """A volume of `gib` GiB, with `iops` and `throughput` in MiB/s; None is what EBS includes."""

    gib: int = 50
    iops: int | None = None
    throughput: int | None = None

    def ebs(self) -> dict[str, Any]:
        """Return the volume in a launch template's form."""
        speed = {"Iops": self.iops, "Throughput": self.throughput}
        return {
            "VolumeSize": self.gib, "VolumeType": "gp3", "Encrypted": True,
            "DeleteOnTermination": True,
            **{name: value for name, value in speed.items() if value is not None},
        }  # fmt: skip

    def check(self) -> None:
        """Raise UsageError for a speed that EBS does not offer for a volume of this size."""
        iops = self.iops or INCLUDED_IOPS
        if iops > max(INCLUDED_IOPS, self.gib * IOPS_PER_GIB):
            raise UsageError(
                f"a disk of {self.gib} GiB cannot have {iops:,} IOPS",
                f"gp3 has at most {IOPS_PER_GIB} for each GiB",
                f'workers.disk = "{-(-iops // IOPS_PER_GIB)}GiB", or lower workers.disk_iops',
            )
        throughput = self.throughput or INCLUDED_MIBPS
        if throughput * IOPS_PER_MIBPS > iops:
            raise UsageError(
                f"a disk with {iops:,} IOPS cannot have {throughput:,} MiB/s",
                f"gp3 needs {IOPS_PER_MIBPS} IOPS for each MiB/s",
                f"workers.disk_iops = {throughput * IOPS_PER_MIBPS}, or lower"
                " workers.disk_throughput",
            )
