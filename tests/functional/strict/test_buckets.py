"""Buckets as others have made them: versions that stay, and what clean and doctor do about them."""

import json
from os import urandom

import pytest
from cfnlint.decode import decode_str
from tests.functional.fleet.calls import needs, recorded
from tests.functional.fleet.conftest import BUCKET, REGION
from tests.functional.fleet.iam import allows
from tests.functional.strict.test_second_stack import policies
from tests.strict_aws.rules.storage import NewBucket

from parallelize import stack
from parallelize.bucket import create
from parallelize.operations.setup import with_listable
from parallelize_core.config import AgentConfig

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")

MIB = 1024**2
RUN = ("--run", "scans")
ONE_ROW = ("--command", "true {1}", "--grid", "x=1", *RUN)


@pytest.fixture
def versioned(account):
    """A bucket that keeps versions, with a run two of whose objects were written twice."""
    s3 = account.client("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        account.prepare("scans", files=2)
    return s3


def test_a_bucket_gets_all_its_settings_though_s3_does_not_know_it_everywhere_at_once(
    account, parallelize
):
    code, _, err = parallelize("prep", "--create-bucket", "--bucket", "fresh", *ONE_ROW)
    assert code == 0, err
    assert account.strict.refusals[NewBucket.__name__]
    s3 = account.client("s3")
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket="fresh")["Rules"]
    assert rule["ID"] == "abort-incomplete-uploads"
    assert all(
        s3.get_public_access_block(Bucket="fresh")["PublicAccessBlockConfiguration"].values()
    )


def versions(s3):
    found = s3.list_object_versions(Bucket=BUCKET)
    return [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]


def test_clean_leaves_no_version_behind(versioned, parallelize):
    assert versions(versioned)
    code, _, err = parallelize("clean", "--yes", *RUN)
    assert code == 0, err
    assert versions(versioned) == []
    assert "versions" in err


def test_clean_leaves_no_version_of_inputs_and_environments_that_only_this_run_has_named(
    account, parallelize, tmp_path
):
    s3 = account.client("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for folder in ("inputs", "env"):
        (tmp_path / folder).mkdir()
    (tmp_path / "inputs" / "a.txt").write_text("a")
    (tmp_path / "env" / "job.sh").write_text("#!/bin/sh\n")
    (tmp_path / "env" / "large").write_bytes(urandom(2 * MIB))
    command = ("--env", "env/", "--command", "sh job.sh")
    kept = [*RUN[:1], "kept"]
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "b.txt").write_text("b")
    assert parallelize("prep", *command, "--inputs", "kept/", *kept)[0] == 0
    before = {one["VersionId"] for one in versions(s3)}
    (tmp_path / "env" / "large").write_bytes(urandom(2 * MIB))
    assert parallelize("prep", *command, "--inputs", "inputs/", *RUN)[0] == 0
    code, _, err = parallelize("clean", "--yes", *RUN)
    assert code == 0, err
    assert "shared input" in err
    assert "shared file" in err
    assert {one["VersionId"] for one in versions(s3)} == before


def test_a_dry_run_says_how_many_older_versions_would_go(versioned, parallelize):
    _, _, err = parallelize("clean", "--dry-run", *RUN)
    assert "would delete 3 older versions that the bucket keeps" in err
    assert len(versions(versioned)) == 6


def test_versions_of_objects_that_were_deleted_before_are_cleaned_too(
    account, versioned, parallelize
):
    listed = versioned.list_objects_v2(Bucket=BUCKET)["Contents"]
    for one in listed:
        versioned.delete_object(Bucket=BUCKET, Key=one["Key"])
    code, _, err = parallelize("clean", "--yes", *RUN)
    assert code == 0, err
    assert versions(versioned) == []


def test_outputs_that_are_kept_keep_their_versions(versioned, parallelize):
    key = "runs/scans/output/a.txt"
    for text in (b"1", b"2"):
        versioned.put_object(Bucket=BUCKET, Key=key, Body=text)
    code, _, err = parallelize("clean", "--yes", "--keep-outputs", *RUN)
    assert code == 0, err
    assert [one["Key"] for one in versions(versioned)] == [key, key]


def test_a_submitter_may_clean_a_bucket_that_keeps_versions(account, versioned, parallelize):
    assert parallelize("setup", "--yes")[0] == 0
    submitter = policies(account, "parallelize")["submitter"]
    with recorded() as calls:
        code, _, err = parallelize("clean", "--yes", *RUN)
    assert code == 0, err
    wanted = {need for call in calls if call.service == "s3" for need in needs(call)}
    assert any(need.action == "s3:DeleteObjectVersion" for need in wanted)
    assert [
        need for need in wanted
        if not allows([submitter], need.action, need.resource, dict(need.context))
    ] == []  # fmt: skip


def bucket_finding(parallelize):
    _, out, _ = parallelize("doctor", "--json", *RUN)
    return {one["check"]: one for one in json.loads(out)["findings"]}["bucket"]


def test_doctor_says_what_older_versions_cost(versioned, parallelize):
    for _ in range(2):
        versioned.put_object(Bucket=BUCKET, Key="runs/scans/output/a", Body=b"x" * 2**20)
    finding = bucket_finding(parallelize)
    assert finding["verdict"] == "look"
    assert finding["text"].startswith("keeps older versions: 1.0 MiB, about $0.00 a month")


def test_doctor_finds_nothing_in_a_bucket_that_keeps_none(account, parallelize):
    assert bucket_finding(parallelize)["verdict"] == "good"


@pytest.mark.parametrize("more", [[], ["s3:GetBucketVersioning"]])
def test_doctor_says_so_where_it_may_not_look_at_versions(account, versioned, parallelize, more):
    mine = account.session.get_credentials().access_key
    may = {"Effect": "Allow", "Action": ["s3:ListBucket", *more], "Resource": "*"}
    account.strict.world.policies[mine] = [{"Statement": [may]}]
    finding = bucket_finding(parallelize)
    assert finding["verdict"] == "look"
    assert finding["text"] == "cannot tell what older versions cost (AccessDenied)"


ELSEWHERE = ("--set", "ReadableObjects=arn:aws:s3:::our-data/*,arn:aws:s3:::our-data/more/*",
             "--set", "WritableObjects=arn:aws:s3:::our-results/*")  # fmt: skip


def test_a_submitter_may_list_and_read_the_buckets_of_inputs_and_outputs_elsewhere(
    account, parallelize
):
    code, _, err = parallelize("setup", "--yes", *ELSEWHERE)
    assert code == 0, err
    submitter = [policies(account, "parallelize")["submitter"]]
    for bucket in ("our-data", "our-results"):
        assert allows(submitter, "s3:ListBucket", f"arn:aws:s3:::{bucket}")
        assert allows(submitter, "s3:GetObject", f"arn:aws:s3:::{bucket}/a.txt")
    assert not allows(submitter, "s3:PutObject", "arn:aws:s3:::our-data/a.txt")
    assert not allows(submitter, "s3:ListBucket", "arn:aws:s3:::others")


def test_workers_may_list_those_buckets_too_or_a_missing_key_would_be_forbidden():
    # moto makes no policy of this kind, so it is read from the template.
    document, _ = decode_str(stack.template())
    made = document["Resources"]["ListElsewherePolicy"]["Properties"]
    (statement,) = made["PolicyDocument"]["Statement"]
    assert statement["Action"] == "s3:ListBucket"
    assert statement["Resource"] == {"Ref": "ListableBuckets"}
    assert made["RoleName"] == {"Ref": "AgentRole"}


def test_what_was_said_of_other_buckets_before_is_still_listed_with_what_is_said_now():
    told = {"ReadableObjects": "arn:aws:s3:::our-data/*"}
    now = with_listable({"WritableObjects": "arn:aws:s3:::our-results/*"}, told)
    assert now["ListableBuckets"] == "arn:aws:s3:::our-data,arn:aws:s3:::our-results"


@pytest.fixture
def theirs(account, tmp_path):
    """A bucket of others with an input."""
    s3 = account.client("s3")
    s3.create_bucket(Bucket="theirs", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="theirs", Key="data/a.txt", Body=b"a")
    account.strict.world.requester_pays = frozenset({"theirs"})


PREP = ("prep", "--inputs", "s3://theirs/data/", "--command", "cat", *RUN)


def test_inputs_are_not_read_where_readers_pay_and_nobody_said_so(theirs, parallelize):
    assert parallelize(*PREP)[0] == 4


def test_inputs_are_read_where_readers_pay_when_the_settings_say_so(
    theirs, parallelize, monkeypatch
):
    monkeypatch.setenv("PARALLELIZE_AWS_REQUESTER_PAYS", "theirs")
    code, _, err = parallelize(*PREP)
    assert code == 0, err


def test_writes_name_the_key_that_a_bucket_asks_for(account, theirs, parallelize, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_AWS_REQUESTER_PAYS", "theirs")
    key = account.client("kms").create_key()["KeyMetadata"]["Arn"]
    account.strict.world.demanded_keys[BUCKET] = key
    assert parallelize(*PREP)[0] == 4
    monkeypatch.setenv("PARALLELIZE_AWS_KMS_KEYS", f"{BUCKET}={key}")
    code, _, err = parallelize(*PREP)
    assert code == 0, err
    assert (
        account.client("s3").head_object(Bucket=BUCKET, Key="runs/scans/run.json")["SSEKMSKeyId"]
        == key
    )


def test_a_worker_is_told_of_both(account, parallelize, monkeypatch):
    account.prepare("scans")
    monkeypatch.setenv("PARALLELIZE_AWS_REQUESTER_PAYS", "theirs")
    monkeypatch.setenv("PARALLELIZE_AWS_KMS_KEYS", f"{BUCKET}=arn:key")
    _, out, _ = parallelize("launch", "--print-config", *RUN)
    terms = AgentConfig.decode(out, "stdout").terms
    assert terms.reading("theirs") == [("x-amz-request-payer", "requester")]
    assert dict(terms.writing(BUCKET))["x-amz-server-side-encryption-aws-kms-key-id"] == "arn:key"


@pytest.fixture
def open_data(account, parallelize):
    """A public bucket with two inputs; who calls is a submitter, whom `let` gives what is said."""
    s3 = account.client("s3")
    s3.create_bucket(Bucket="open-data", CreateBucketConfiguration={"LocationConstraint": REGION})
    for name in ("a.txt", "b.txt"):
        s3.put_object(Bucket="open-data", Key=f"data/{name}", Body=b"a")
    everybody = {
        "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::open-data", "arn:aws:s3:::open-data/*"],
    }  # fmt: skip
    s3.put_bucket_policy(Bucket="open-data", Policy=json.dumps({"Statement": [everybody]}))
    mine = account.session.get_credentials().access_key

    def let(*words):
        account.strict.world.policies.pop(mine, None)
        code, _, err = parallelize("setup", "--yes", *words)
        assert code == 0, err
        account.strict.world.policies[mine] = [policies(account, "parallelize")["submitter"]]

    return let


PUBLIC = ("prep", "--inputs", "s3://open-data/data/", "--command", "cat", *RUN)


def test_public_inputs_are_read_by_who_is_let_to_and_are_not_copied(
    account, open_data, parallelize
):
    open_data("--set", "ReadableObjects=arn:aws:s3:::open-data/*")
    code, _, err = parallelize(*PUBLIC)
    assert code == 0, err
    assert "2 inputs" in err
    assert account.run("scans").input.uri == "s3://open-data/data/"
    keys = [one["Key"] for one in account.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert not any(key.endswith(".txt") for key in keys)


@pytest.mark.parametrize("inputs", ["s3://open-data/data/", "s3://open-data/data/a.txt", "@list"])
def test_that_a_bucket_is_public_is_not_enough_and_the_refusal_says_what_is(
    account, open_data, parallelize, tmp_path, inputs
):
    open_data()
    tmp_path.joinpath("list").write_text("s3://open-data/data/a.txt\n")
    code, _, err = parallelize("prep", "--inputs", inputs, "--command", "cat", *RUN)
    assert code == 4
    assert "parallelize setup --set 'ReadableObjects=arn:aws:s3:::open-data/*'" in err


def test_a_bucket_whose_creation_was_answered_late_or_made_by_two_is_set_up(account):
    s3 = account.client("s3")
    for _ in range(2):
        create(s3, "twice", REGION, {})
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket="twice")["Rules"]
    assert rule["ID"] == "abort-incomplete-uploads"
