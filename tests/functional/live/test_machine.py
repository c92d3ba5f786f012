"""`doctor --live --machine` in moto, where no machine ever boots; tests/e2e has one that works."""

from pathlib import Path

import pytest
from tests.strict_aws.rules.machines import EndedAtOnce

from parallelize.live import machine
from parallelize.operations.doctor_live import WORK, rehearse, with_a_machine
from parallelize.options import NOTHING
from parallelize_core.errors import UsageError


def told(findings):
    return {(str(one.verdict), one.check, one.text) for one in findings}


def left(account):
    """What is there of any rehearsal."""
    objects = account.client("s3").list_objects_v2(Bucket="bucket").get("Contents", [])
    ec2 = account.client("ec2")
    machines = [one["State"]["Name"] for reservation in ec2.describe_instances()["Reservations"]
                for one in reservation["Instances"]]  # fmt: skip
    queues = account.client("sqs").list_queues().get("QueueUrls", [])
    templates = ec2.describe_launch_templates()["LaunchTemplates"]
    alarms = account.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return [*objects, *queues, *templates, *alarms, *(set(machines) - {"terminated"})]


@pytest.fixture
def transcript() -> Path:
    return Path("transcript.jsonl")


def test_a_machine_that_does_nothing_is_ended_after_a_quarter_of_an_hour(
    account, vendors, queues_by_the_clock, transcript
):
    with with_a_machine(NOTHING) as rehearsal:
        findings = rehearse(rehearsal, transcript)
    assert ("bad", "machine", "0 of 3 files processed") in told(findings)
    assert ("bad", "machine", "its last state: running, no reason") in told(findings)
    assert findings[-1].text.startswith("nothing (looked for: Auto Scaling group, machine, volume")
    assert left(account) == []


def test_a_bucket_that_keeps_versions_keeps_none_of_a_rehearsal(
    account, vendors, queues_by_the_clock, transcript
):
    s3 = account.client("s3")
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    with with_a_machine(NOTHING) as rehearsal:
        findings = rehearse(rehearsal, transcript)
    assert findings[-1].text.startswith("nothing (looked for: ")
    assert "version of an object" in findings[-1].text
    found = s3.list_object_versions(Bucket="bucket")
    assert [*found.get("Versions", ()), *found.get("DeleteMarkers", ())] == []


def test_ec2s_reason_for_a_machine_that_it_ends_is_told(
    account, vendors, queues_by_the_clock, transcript
):
    account.strict.rule(EndedAtOnce).end_next(EndedAtOnce.VOLUMES)
    with with_a_machine(NOTHING) as rehearsal:
        findings = rehearse(rehearsal, transcript)
    broke_off = next(one.text for one in findings if one.check == "machine")
    assert "the quota of volumes in eu-west-1 is used up" in broke_off
    assert left(account) == []


@pytest.mark.parametrize("step", ["prepare", "enqueue", "launch"])
def test_ctrl_c_leaves_nothing_wherever_it_comes(
    account, vendors, queues_by_the_clock, transcript, step
):
    def interrupted(context):
        getattr(WORK, step)(context)
        assert left(account)
        raise KeyboardInterrupt

    steps = {name: getattr(WORK, name) for name in ("prepare", "enqueue", "launch")}
    work = machine.Work(**{**steps, step: interrupted})
    with with_a_machine(NOTHING, work) as rehearsal, pytest.raises(KeyboardInterrupt):
        rehearse(rehearsal, transcript)
    assert left(account) == []


def test_the_transcript_has_the_machines_states_and_not_its_user_data(
    account, vendors, queues_by_the_clock, transcript
):
    with with_a_machine(NOTHING) as rehearsal:
        rehearse(rehearsal, transcript)
    text = transcript.read_text()
    assert '"operation":"DescribeInstances"' in text
    assert '"Name":"running"' in text
    assert '"UserData":"<UserData 1>"' in text
    assert "/runs/live-" in text
    assert [one for one in ("123456789012", "bucket/runs/") if one in text] == []


def test_without_the_bucket_of_setup_nothing_is_asked(account, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_BUCKET", "nowhere")
    with pytest.raises(UsageError, match="the bucket nowhere does not exist"):
        with_a_machine(NOTHING).__enter__()


def test_of_the_settings_only_the_accounts_hold(account, monkeypatch, tmp_path):
    (tmp_path / "parallelize.toml").write_text(
        '[run]\nsetup = "rm -r"\n[aws.tags]\nowner = "ana"\n'
    )
    with with_a_machine(NOTHING) as rehearsal:
        found = rehearsal.context.settings
    assert (found.run.setup, found.aws.tags) == (None, {"owner": "ana"})
