"""Recording every call to AWS, and what permission each of them takes.

Names of calls and of permissions differ in places; the differences, the resources and the
conditions are from the service authorization reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote

import botocore.handlers
import pytest

ACCOUNT, REGION = "123456789012", "eu-west-1"

S3_ACTIONS = {
    "HeadObject": ["GetObject"],
    "HeadBucket": ["ListBucket"],
    "ListObjectsV2": ["ListBucket"],
    "CreateMultipartUpload": ["PutObject"],
    "UploadPart": ["PutObject"],
    "CompleteMultipartUpload": ["PutObject"],
    "ListObjectVersions": ["ListBucketVersions"],
}
SQS_ACTIONS = {
    "SendMessageBatch": ["SendMessage"],
    "DeleteMessageBatch": ["DeleteMessage"],
    "ChangeMessageVisibilityBatch": ["ChangeMessageVisibility"],
}
WITHOUT_PERMISSION = {"sts:GetCallerIdentity"}
TEMPLATE_CHANGES = {"CreateLaunchTemplateVersion", "DeleteLaunchTemplate"}
IDS = ("InstanceId", "LaunchTemplateId")

Context = tuple[tuple[str, str], ...]

OWN_BUCKET: Context = (("aws:ResourceAccount", ACCOUNT),)
"""What S3 says of a bucket of the account's own."""


class Need(NamedTuple):
    """One permission that a call takes."""

    action: str
    resource: str
    context: Context = ()


@dataclass(frozen=True)
class Call:
    """A call as it was made."""

    service: str
    operation: str
    params: dict[str, Any]


@dataclass
class Seen:
    """What the answers so far have told: tags by resource id, templates' ids by name, contents."""

    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    contents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def learn(self, answer: Any) -> None:
        """Remember the tags of whatever an answer describes."""
        if isinstance(answer, list):
            for item in answer:
                self.learn(item)
        elif isinstance(answer, dict):
            for key in IDS:
                if key in answer and answer.get("Tags"):
                    self.tags[answer[key]] = as_dict(answer["Tags"])
            if "LaunchTemplateName" in answer and "LaunchTemplateId" in answer:
                self.ids[answer["LaunchTemplateName"]] = answer["LaunchTemplateId"]
            for value in answer.values():
                self.learn(value)

    def of(self, id_: str) -> Context:
        """Return the tags of a resource as conditions see them."""
        return resource_tags(self.tags.get(id_, {}))


@contextlib.contextmanager
def recorded() -> Iterator[list[Call]]:
    """Record the calls of all sessions that are made inside the block."""
    with recorded_answers() as (calls, _):
        yield calls


@contextlib.contextmanager
def recorded_answers() -> Iterator[tuple[list[Call], Seen]]:
    """Record calls, and what their answers tell of the resources that later calls name."""
    calls: list[Call] = []
    seen = Seen()

    def note(params: dict[str, Any], model: Any, **_: object) -> None:
        calls.append(Call(model.service_model.service_name, model.name, dict(params)))

    def learn(parsed: dict[str, Any], **_: object) -> None:
        seen.learn(parsed)

    with pytest.MonkeyPatch.context() as patch:
        handlers = [
            *botocore.handlers.BUILTIN_HANDLERS,
            ("provide-client-params", note),
            ("after-call.ec2", learn),
        ]
        patch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
        yield calls, seen


def needs(call: Call, seen: Seen | None = None) -> list[Need]:
    """Return the permissions that a call takes, with the resources and tags that it names."""
    seen = seen or Seen()
    if call.service == "s3":
        return s3_needs(call)
    if call.service == "sqs":
        tagged = ["TagQueue"] if call.operation == "CreateQueue" and call.params.get("tags") else []
        names = [*sqs_actions(call), *tagged]
        return [Need(f"sqs:{name}", queue_arn(call.params)) for name in names]
    if call.service == "ec2" and not call.operation.startswith(("Describe", "Get")):
        return ec2_needs(call, seen)
    action = f"{call.service.replace('-', '')}:{call.operation}"
    if action in WITHOUT_PERMISSION:
        return []
    if call.service == "autoscaling" and not call.operation.startswith("Describe"):
        return autoscaling_needs(call, action, seen)
    found = [Need(action, resource, context) for resource, context in other_resources(call)]
    if call.operation == "PutMetricAlarm" and call.params.get("Tags"):
        found += [Need("cloudwatch:TagResource", one) for one in alarm_arns(call.params)]
    return found


def other_resources(call: Call) -> list[tuple[str, Context]]:
    params = call.params
    if call.service in {"logs", "sns"}:
        return [(params.get("TopicArn") or stream_arn(params), ())]
    if call.service == "cloudwatch" and "Namespace" in params and "MetricData" in params:
        return [("*", (("cloudwatch:namespace", params["Namespace"]),))]
    if call.service == "cloudwatch":
        return [(resource, ()) for resource in alarm_arns(params)]
    if call.operation == "DescribeStacks":
        return [(arn("cloudformation", f"stack/{params['StackName']}/*"), ())]
    if call.operation == "GetParameter":
        name = params["Name"]
        # Public parameters belong to no account.
        owner = "" if name.startswith("/aws/service/") else ACCOUNT
        return [(f"arn:aws:ssm:{REGION}:{owner}:parameter{name}", ())]
    return [("*", ())]


def alarm_arns(params: Mapping[str, Any]) -> list[str]:
    named = [params["AlarmName"]] if "AlarmName" in params else []
    names = params.get("AlarmNames") or named or ["*"]
    return [arn("cloudwatch", f"alarm:{name}") for name in names]


def ec2_needs(call: Call, seen: Seen) -> list[Need]:
    action, params = f"ec2:{call.operation}", call.params
    if call.operation == "TerminateInstances":
        return [Need(action, arn("ec2", f"instance/{one}"), seen.of(one))
                for one in params["InstanceIds"]]  # fmt: skip
    if call.operation == "CreateLaunchTemplate":
        given = specified(params, "launch-template")
        return [Need(action, arn("ec2", "launch-template/*"), request_tags(given)),
                *creation(params, "CreateLaunchTemplate")]  # fmt: skip
    if call.operation in TEMPLATE_CHANGES:
        id_ = params.get("LaunchTemplateId") or seen.ids[params["LaunchTemplateName"]]
        return [Need(action, arn("ec2", f"launch-template/{id_}"), seen.of(id_))]
    if call.operation == "RunInstances":
        return starting(params, None, [params["SubnetId"]], seen)
    assert call.operation == "CreateFleet", call
    return fleet_needs(params, seen)


def fleet_needs(params: Mapping[str, Any], seen: Seen) -> list[Need]:
    """A fleet needs its own permission, and to start each machine in the caller's name.

    By the reference CreateFleet is asked for what the machines are made of, too, as RunInstances.
    An instant fleet's request tags these as its template does.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-prerequisites.html
    """
    fleet = request_tags(specified(params, "fleet"))
    found = [
        Need("ec2:CreateFleet", arn("ec2", "fleet/*"), fleet),
        *creation(params, "CreateFleet"),
    ]
    for config in params["LaunchTemplateConfigs"]:
        id_ = config["LaunchTemplateSpecification"]["LaunchTemplateId"]
        found.append(Need("ec2:CreateFleet", arn("ec2", f"launch-template/{id_}"), seen.of(id_)))
        subnets = {one["SubnetId"] for one in config["Overrides"]}
        given = [one for one in params["TagSpecifications"] if one["ResourceType"] != "fleet"]
        template = seen.contents[id_]
        whole = {**template, "TagSpecifications": [*template["TagSpecifications"], *given]}
        starts = starting(whole, id_, sorted(subnets), seen)
        found += starts
        found += [one._replace(action="ec2:CreateFleet") for one in starts
                  if one.action == "ec2:RunInstances"]  # fmt: skip
    return found


def starting(
    template: Mapping[str, Any], id_: str | None, subnets: list[str], seen: Seen
) -> list[Need]:
    """Return what RunInstances takes, also when called in the launcher's name."""
    places = [f"subnet/{one}" for one in subnets]
    places += [f"security-group/{one}" for one in template.get("SecurityGroupIds", ())]
    places += [f"key-pair/{template['KeyName']}"] if "KeyName" in template else []
    found = [Need("ec2:RunInstances", arn("ec2", place)) for place in places]
    image = f"arn:aws:ec2:{REGION}::image/{template['ImageId']}"
    found.append(Need("ec2:RunInstances", image))
    if id_:
        found.append(Need("ec2:RunInstances", arn("ec2", f"launch-template/{id_}"), seen.of(id_)))
    for one in template["TagSpecifications"]:
        made = arn("ec2", f"{one['ResourceType']}/*")
        found.append(Need("ec2:RunInstances", made, request_tags(as_dict(one["Tags"]))))
        found.append(Need("ec2:CreateTags", made, (("ec2:CreateAction", "RunInstances"),)))
    profile = template["IamInstanceProfile"]["Name"]
    to_ec2 = (("iam:PassedToService", "ec2.amazonaws.com"),)
    return [*found, Need("iam:PassRole", profile, to_ec2)]


def creation(params: Mapping[str, Any], operation: str) -> list[Need]:
    """Return what tagging takes of that which is being made."""
    context = (("ec2:CreateAction", operation),)
    return [
        Need("ec2:CreateTags", arn("ec2", f"{one['ResourceType']}/*"), context)
        for one in params.get("TagSpecifications", ())
    ]


def autoscaling_needs(call: Call, action: str, seen: Seen) -> list[Need]:
    """A group needs its own permission, and that to start what its template says.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
    """
    params = call.params
    names = [params["AutoScalingGroupName"]] if "AutoScalingGroupName" in params else []
    names += [one["ResourceId"] for one in params.get("Tags", ())]
    if "InstanceId" in params:
        names.append(seen.tags[params["InstanceId"]]["aws:autoscaling:groupName"])
    assert names, call
    groups = "autoScalingGroup:*:autoScalingGroupName"
    found = [Need(action, arn("autoscaling", f"{groups}/{name}")) for name in sorted(set(names))]
    if policy := params.get("MixedInstancesPolicy"):
        id_ = policy["LaunchTemplate"]["LaunchTemplateSpecification"]["LaunchTemplateId"]
        subnets = params["VPCZoneIdentifier"].split(",")
        found += starting(seen.contents[id_], id_, subnets, seen)
    return found


def template_contents(calls: list[Call], seen: Seen) -> None:
    """Let `seen` know what is in the launch templates that the calls have made."""
    for call in calls:
        made = call.operation in {"CreateLaunchTemplate", "CreateLaunchTemplateVersion"}
        if made and not call.params.get("DryRun"):
            id_ = seen.ids[call.params["LaunchTemplateName"]]
            seen.contents[id_] = call.params["LaunchTemplateData"]


def s3_needs(call: Call) -> list[Need]:
    if "Bucket" not in call.params:
        return [Need("s3:ListAllMyBuckets", "*")]
    bucket = f"arn:aws:s3:::{call.params['Bucket']}"
    keys = [call.params["Key"]] if "Key" in call.params else []
    actions = [f"s3:{name}" for name in S3_ACTIONS.get(call.operation, [call.operation])]
    if call.operation == "DeleteObjects":
        return [
            Need(f"s3:DeleteObject{'Version' * ('VersionId' in one)}",
                 f"{bucket}/{one['Key']}", OWN_BUCKET)
            for one in call.params["Delete"]["Objects"]
        ]  # fmt: skip
    if call.operation == "CopyObject":
        return [Need("s3:GetObject", copied(call), OWN_BUCKET),
                Need("s3:PutObject", f"{bucket}/{keys[0]}", OWN_BUCKET)]  # fmt: skip
    if keys:
        return [Need(action, f"{bucket}/{key}", OWN_BUCKET) for action in actions for key in keys]
    prefix = (("s3:prefix", call.params["Prefix"]),) if "Prefix" in call.params else ()
    return [Need(action, bucket, OWN_BUCKET + prefix) for action in actions]


def copied(call: Call) -> str:
    """Return the object that is read by a copy."""
    source = call.params["CopySource"]
    named = source if isinstance(source, str) else f"{source['Bucket']}/{source['Key']}"
    return f"arn:aws:s3:::{unquote(named).lstrip('/')}"


def stream_arn(params: Mapping[str, Any]) -> str:
    stream = f":log-stream:{params['logStreamName']}" if "logStreamName" in params else ""
    return arn("logs", f"log-group:{params.get('logGroupName', '*')}{stream}")


def sqs_actions(call: Call) -> list[str]:
    return SQS_ACTIONS.get(call.operation, [call.operation])


def queue_arn(params: dict[str, Any]) -> str:
    named = params.get("QueueUrl", params.get("QueueNamePrefix", "")).rpartition("/")[2]
    return arn("sqs", params.get("QueueName") or named)


def arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"


def specified(params: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return the tags that a request gives to a kind of resource."""
    found = [one["Tags"] for one in params.get("TagSpecifications", ())
             if one["ResourceType"] == kind]  # fmt: skip
    return as_dict(found[0]) if found else {}


def as_dict(tags: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def request_tags(tags: Mapping[str, str]) -> Context:
    return tuple((f"aws:RequestTag/{key}", value) for key, value in sorted(tags.items()))


def resource_tags(tags: Mapping[str, str]) -> Context:
    return tuple((f"aws:ResourceTag/{key}", value) for key, value in sorted(tags.items()))
