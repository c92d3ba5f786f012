"""The key of volumes: EC2 ends machines whose starter may not use it, after it has started them."""

from __future__ import annotations

from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.kms.models import kms_backends
from tests.functional.fleet.iam import allows
from tests.strict_aws.call import Call
from tests.strict_aws.layer import Rule, World
from tests.strict_aws.rules.machines import EndedAtOnce, started

NEEDED = ("kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext",
          "kms:ReEncryptFrom", "kms:ReEncryptTo")  # fmt: skip


class VolumeKey(Rule):
    """Who starts machines, a person or Auto Scaling's role, needs rights on the volumes' key."""

    source = "https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html"
    found = "no policy of the stack allowed a key of the account's own, and doctor saw nothing"

    GROUPS = ("autoscaling.CreateAutoScalingGroup", "autoscaling.UpdateAutoScalingGroup")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._end = EndedAtOnce(world).end

    def before(self, call: Call) -> dict[str, Any] | None:
        # moto does not know the call.
        if call.name == "ec2.GetEbsDefaultKmsKeyId":
            return {"KmsKeyId": self.world.volume_key or "alias/aws/ebs"}
        return None

    def watches(self, call: Call) -> bool:
        return bool(self.world.volume_key) and call.name in {"ec2.CreateFleet", *self.GROUPS}

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        if call.name in self.GROUPS:
            ids = [] if self._granted(call) else self._members(call)
        else:
            ids = [] if self._may(call) else started(result)
        for id_ in ids:
            self._end(call.region, id_, EndedAtOnce.KEY)
        return None

    def _may(self, call: Call) -> bool:
        policies = self.world.policies.get(call.access_key)
        by_ec2 = {"kms:ViaService": f"ec2.{call.region}.amazonaws.com"}
        contexts = dict.fromkeys(NEEDED, by_ec2)
        contexts["kms:CreateGrant"] = {**by_ec2, "kms:GrantIsForAWSResource": "true"}
        key = self.world.volume_key
        return policies is None or all(allows(policies, one, key, contexts[one]) for one in NEEDED)

    def _granted(self, call: Call) -> bool:
        keys = kms_backends[self.world.account][call.region].keys
        key = keys.get(self.world.volume_key.rpartition("/")[2])
        grants = key.grants.values() if key else ()
        return any("AWSServiceRoleForAutoScaling" in one.grantee_principal for one in grants)

    def _members(self, call: Call) -> list[str]:
        groups = autoscaling_backends[self.world.account][call.region].autoscaling_groups
        group = groups[str(call.get("AutoScalingGroupName"))]
        return [state.instance.id for state in group.instance_states]
