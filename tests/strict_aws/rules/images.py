"""EC2: snapshots of images that are gone, but not everywhere yet."""

from __future__ import annotations

from typing import Any

from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule
from tests.strict_aws.rules.templates import CONSISTENCY


class UsedSnapshot(Rule):
    """A snapshot is in use for a while after its image was deregistered."""

    source = CONSISTENCY
    found = "image prune left the snapshot of the first image behind, and stopped"

    seconds = 2.0

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.name == "ec2.DeleteSnapshot" and (images := self.windows.any_open()):
            raise Refusal(
                "InvalidSnapshot.InUse",
                f"The snapshot {call.get('SnapshotId')} is currently in use by {images[0]}",
            )
        return None

    def watches(self, call: Call) -> bool:
        return call.name == "ec2.DeregisterImage"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        self.windows.open(call.get("ImageId"), self.world.seconds(self.seconds))
        return None
