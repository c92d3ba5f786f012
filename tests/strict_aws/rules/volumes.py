"""The key of volumes: EC2 ends machines whose starter may not use it, after it has started them."""

from __future__ import annotations

from typing import Any

from moto.kms.models import kms_backends
from tests.functional.fleet.iam import allows
from tests.strict_aws.call import Call
from tests.strict_aws.layer import World
from tests.strict_aws.rules.machines import EndedAtOnce
from tests.strict_aws.rules.starts import MachineRule, Start

NEEDED = ("kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext",
          "kms:ReEncryptFrom", "kms:ReEncryptTo")  # fmt: skip


class VolumeKey(MachineRule):
    """Who starts machines, a person or Auto Scaling's role, needs rights on the volumes' key."""

    source = "https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html"
    found = "no policy of the stack allowed a key of the account's own, and doctor saw nothing"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._end = EndedAtOnce(world).end

    def before(self, call: Call) -> dict[str, Any] | None:
        # moto does not know the call.
        if call.name == "ec2.GetEbsDefaultKmsKeyId":
            return {"KmsKeyId": self.world.volume_key or "alias/aws/ebs"}
        return None

    def see(self, start: Start, id_: str) -> None:
        if not self.world.volume_key:
            return
        may = self._may(start) if start.by else self._granted(start)
        if not may:
            self._end(start.region, id_, EndedAtOnce.KEY)

    def _may(self, start: Start) -> bool:
        policies = self.world.policies.get(start.by)
        by_ec2 = {"kms:ViaService": f"ec2.{start.region}.amazonaws.com"}
        contexts = dict.fromkeys(NEEDED, by_ec2)
        contexts["kms:CreateGrant"] = {**by_ec2, "kms:GrantIsForAWSResource": "true"}
        key = self.world.volume_key
        return policies is None or all(allows(policies, one, key, contexts[one]) for one in NEEDED)

    def _granted(self, start: Start) -> bool:
        keys = kms_backends[self.world.account][start.region].keys
        key = keys.get(self.world.volume_key.rpartition("/")[2])
        grants = key.grants.values() if key else ()
        return any("AWSServiceRoleForAutoScaling" in one.grantee_principal for one in grants)
