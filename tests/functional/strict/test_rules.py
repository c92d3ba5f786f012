"""Each rule refuses what its document says, and lets it pass when its time is over."""

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.ec2.models import ec2_backends
from tests.functional.fleet.conftest import BUCKET, REGION
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.clock import Clock
from tests.strict_aws.layer import World
from tests.strict_aws.rules import RULES
from tests.strict_aws.rules.machines import RegionTypes, offered
from tests.strict_aws.rules.throttling import Throttling

OURS = Config(user_agent_extra="parallelize", retries={"total_max_attempts": 1})


@pytest.fixture
def our(account):
    """Build clients as the project's own are, which the layer looks at."""
    return lambda service, region=REGION: boto3.client(service, region, config=OURS)


def code(call, **params):
    with pytest.raises(ClientError) as told:
        call(**params)
    return told.value.response["Error"]["Code"]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_names_the_document_that_it_comes_from(rule):
    assert rule.source.startswith("https://docs.aws.amazon.com/")
    assert rule.__doc__


def test_a_queue_is_not_there_in_its_first_second(account, our):
    account.strict.world.clock.stop()
    sqs = our("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_attributes(QueueUrl=url)
    account.strict.world.clock.sleep(1)
    assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]


def test_a_queues_name_is_taken_for_a_minute_after_its_deletion(account, our):
    sqs = our("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    account.strict.world.clock.sleep(1)
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.QueueDeletedRecently):
        sqs.create_queue(QueueName="q")
    account.strict.world.clock.sleep(60)
    assert sqs.create_queue(QueueName="q")["QueueUrl"]


def test_moto_itself_purges_a_queue_once_a_minute(account, our):
    sqs = our("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    account.strict.world.clock.sleep(1)
    sqs.purge_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.PurgeQueueInProgress):
        sqs.purge_queue(QueueUrl=url)


def test_a_type_that_the_region_lacks_does_not_start(our):
    call = Call("ec2", "CreateFleet", {
        "LaunchTemplateConfigs": [{"Overrides": [{"InstanceType": "c6a.xlarge"}]}],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1},
    }, region="eu-north-1")  # fmt: skip
    answer = RegionTypes(World()).before(call)
    assert answer is not None
    assert answer["Errors"][0]["ErrorCode"] == "Unsupported"


def test_a_region_describes_only_its_own_types(our):
    wanted = [{"Name": "instance-type", "Values": ["c6i.xlarge", "c6a.xlarge"]}]
    answer = our("ec2", "eu-north-1").describe_instance_types(Filters=wanted)
    assert [one["InstanceType"] for one in answer["InstanceTypes"]] == ["c6i.xlarge"]
    assert "c6a.xlarge" not in offered("eu-north-1")


@pytest.mark.parametrize(
    ("service", "operation", "params", "told"),
    [
        ("autoscaling", "describe_policies", {"AutoScalingGroupName": "x" * 256},
         "ValidationError"),
        ("ec2", "describe_instance_type_offerings", {"LocationType": "planet"},
         "InvalidParameterValue"),
        ("cloudwatch", "delete_alarms", {"AlarmNames": ["x"] * 101}, "ValidationException"),
    ],
)  # fmt: skip
def test_limits_that_botocore_does_not_look_at_are_kept(our, service, operation, params, told):
    assert code(getattr(our(service), operation), **params) == told


@pytest.mark.parametrize(
    ("operation", "params", "told"),
    [
        ("put_object", {"Key": "k", "ServerSideEncryption": "rot13"}, "InvalidArgument"),
        ("list_objects_v2", {"EncodingType": "base64"}, "InvalidArgument"),
        ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "On"}},
         "InvalidArgument"),
        ("put_object", {"Key": "k" * 1025}, "KeyTooLongError"),
        ("put_object", {"Key": "k", "Metadata": {"m": "x" * 2048}}, "MetadataTooLarge"),
        ("upload_part", {"Key": "k", "PartNumber": 10_001, "UploadId": "u"}, "InvalidArgument"),
        ("delete_objects", {"Delete": {"Objects": [{"Key": str(n)} for n in range(1001)]}},
         "MalformedXML"),
    ],
)  # fmt: skip
def test_limits_of_s3_are_kept_in_headers_query_and_body(our, operation, params, told):
    assert code(getattr(our("s3"), operation), Bucket=BUCKET, **params) == told


def test_what_s3_takes_arrives_as_it_was_sent(account, our):
    s3 = our("s3")
    s3.put_object(Bucket=BUCKET, Key="k" * 1024, Body=b"x", Metadata={"m": "x" * 2047})
    found = s3.get_object(Bucket=BUCKET, Key="k" * 1024)
    assert (found["Body"].read(), len(found["Metadata"]["m"])) == (b"x", 2047)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    deleted = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "k" * 1024}]})
    assert [one["Key"] for one in deleted["Deleted"]] == ["k" * 1024]


@pytest.mark.parametrize("tag", [("aws:x", "1"), ("k" * 129, "1"), ("k", "v" * 257), ("k", "<>")])
def test_a_tag_that_aws_does_not_take_is_refused_by_each_service(our, tag):
    key, value = tag
    spec = [{"ResourceType": "launch-template", "Tags": [{"Key": key, "Value": value}]}]
    make = our("ec2").create_launch_template
    words = {"LaunchTemplateName": "t", "LaunchTemplateData": {"ImageId": "ami-1"}}
    assert code(make, **words, TagSpecifications=spec) == "InvalidParameterValue"
    assert (
        code(our("sqs").create_queue, QueueName="q", tags={key: value}) == "InvalidParameterValue"
    )


@pytest.mark.parametrize(
    ("service", "operation", "params", "told"),
    [
        ("logs", "create_log_group", {"logGroupName": "g", "tags": {"aws:x": "1"}},
         "ValidationException"),
        ("ec2", "create_image", {"InstanceId": "i-1", "Name": "one", "TagSpecifications": [
            {"ResourceType": "image", "Tags": [{"Key": "k", "Value": "v" * 257}]}]},
         "InvalidParameterValue"),
        ("s3", "create_bucket", {"Bucket": "fresh", "CreateBucketConfiguration": {
            "LocationConstraint": REGION, "Tags": [{"Key": "aws:x", "Value": "1"}]}},
         "InvalidArgument"),
        ("sqs", "create_queue", {"QueueName": "q", "tags": {str(n): "" for n in range(51)}},
         "InvalidParameterValue"),
        ("autoscaling", "create_or_update_tags", {"Tags": [
            {"Key": "<", "Value": "1", "ResourceId": "g", "ResourceType": "auto-scaling-group"}]},
         "ValidationError"),
    ],
)  # fmt: skip
def test_tags_of_log_groups_images_buckets_and_groups_are_looked_at_too(
    our, service, operation, params, told
):
    assert code(getattr(our(service), operation), **params) == told


def test_a_bucket_of_another_owner_than_expected_is_refused(account, our):
    account.client("s3").put_object(Bucket=BUCKET, Key="k", Body=b"x")
    words = {"Bucket": BUCKET, "Key": "k", "ExpectedBucketOwner": "111111111111"}
    assert code(our("s3").get_object, **words) == "AccessDenied"


def test_moto_itself_hands_out_no_archived_object(account, our):
    account.client("s3").put_object(Bucket=BUCKET, Key="k", Body=b"x", StorageClass="DEEP_ARCHIVE")
    assert code(our("s3").get_object, Bucket=BUCKET, Key="k") == "InvalidObjectState"


def give(account, *actions):
    """Let who calls do these, in the account's own buckets, and nothing else."""
    own = {"StringEquals": {"aws:ResourceAccount": "123456789012"}}
    one = {"Effect": "Allow", "Action": list(actions), "Resource": "*", "Condition": own}
    key = account.session.get_credentials().access_key
    account.strict.world.policies[key] = [{"Statement": [one]}]


def test_a_key_that_is_not_there_is_403_without_the_permission_to_list(account, our):
    give(account, "s3:GetObject")
    assert code(our("s3").head_object, Bucket=BUCKET, Key="nothing") == "403"
    give(account, "s3:GetObject", "s3:ListBucket")
    assert code(our("s3").head_object, Bucket=BUCKET, Key="nothing") == "404"


def test_who_has_policies_may_do_what_they_allow_and_nothing_else(account, our):
    give(account, "s3:GetObject")
    account.client("s3").put_object(Bucket=BUCKET, Key="k", Body=b"x")
    assert our("s3").get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"x"
    assert code(our("s3").put_object, Bucket=BUCKET, Key="k", Body=b"y") == "AccessDenied"


def test_too_many_calls_at_once_are_refused_until_there_are_tokens_again():
    clock = Clock(lambda: 0.0)
    rule, call = Throttling(World(clock)), Call("ec2", "DescribeLaunchTemplates", {})
    for _ in range(50):
        rule.before(call)
    with pytest.raises(Refusal, match="RequestLimitExceeded"):
        rule.before(call)
    clock.sleep(1)
    rule.before(call)


def test_more_machines_than_there_are_tokens_for_are_refused_as_a_whole():
    clock = Clock(lambda: 0.0)
    rule = Throttling(World(clock))

    def ask(count):
        target = {"TotalTargetCapacity": count}
        rule.before(Call("ec2", "CreateFleet", {"TargetCapacitySpecification": target}))

    with pytest.raises(Refusal, match="RequestLimitExceeded"):
        ask(1001)
    ask(1000)
    clock.sleep(49)
    with pytest.raises(Refusal):
        ask(100)
    clock.sleep(1)
    ask(100)


def test_what_a_test_itself_looks_up_is_the_truth_at_once(account):
    sqs = account.client("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]


def start_one(account, our, kind="c7i.xlarge", **data):
    """Ask for a machine from a template with this in it, and return the fleet's answer."""
    ec2 = our("ec2")
    made = ec2.create_launch_template(
        LaunchTemplateName="t", LaunchTemplateData={"ImageId": account.image, **data}
    )
    account.strict.world.clock.sleep(2)
    named = {"LaunchTemplateId": made["LaunchTemplate"]["LaunchTemplateId"], "Version": "1"}
    return ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {"LaunchTemplateSpecification": named, "Overrides": [{"InstanceType": kind}]}
        ],
        TargetCapacitySpecification={
            "TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand",
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ebs", "refused"),
    [
        ({"VolumeSize": 15, "Iops": 8000}, True),
        ({"VolumeSize": 15, "Throughput": 800}, True),
        ({"VolumeSize": 15, "Iops": 4000, "Throughput": 800}, False),
    ],
)
def test_a_volume_has_no_more_speed_than_its_size_allows(account, our, ebs, refused):
    mapping = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeType": "gp3", **ebs}}
    answer = start_one(account, our, BlockDeviceMappings=[mapping])
    codes = [one["ErrorCode"] for one in answer.get("Errors", ())]
    assert codes == (["InvalidParameterCombination"] if refused else [])


def test_a_machine_does_not_start_from_an_image_of_another_architecture(account, our):
    answer = start_one(account, our, "c7g.xlarge")
    assert answer["Errors"][0]["ErrorCode"] == "InvalidParameterValue"


def test_a_volume_is_not_smaller_than_its_images_snapshot(account, our):
    mapping = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeType": "gp3", "VolumeSize": 8}}
    answer = start_one(account, our, BlockDeviceMappings=[mapping])
    assert answer["Errors"][0]["ErrorCode"] == "InvalidBlockDeviceMapping"
    assert "expect size >= 15GB" in answer["Errors"][0]["ErrorMessage"]


def test_two_regions_have_no_bucket_names_of_an_accounts_own(account, our):
    namespace = {"ParameterKey": "BucketNamespace", "ParameterValue": "account-regional"}
    words = {"StackName": "s", "ChangeSetName": "c", "TemplateBody": "{}"}
    ask = our("cloudformation", "me-south-1").create_change_set
    assert code(ask, **words, Parameters=[namespace]) == "ValidationError"


def test_the_tags_of_an_image_are_its_owners(account, our):
    ec2_backends["123456789012"][REGION].amis[account.image].owner_id = "999999999999"
    (image,) = our("ec2").describe_images(ImageIds=[account.image])["Images"]
    assert image.get("Tags", []) == []
