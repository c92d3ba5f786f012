"""`doctor --live` from end to end against moto behind AWS's refusals."""

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.functional.fleet.conftest import Account

from parallelize.context import open_context
from parallelize.live import fleets, objects, queues, watching
from parallelize.live.rehearsal import KINDS
from parallelize.live.trial import Kind
from parallelize.operations.doctor_live import Rehearsal, free_of_machines, rehearse
from parallelize.options import NOTHING
from parallelize.runs.files.own_files import products
from parallelize_core.errors import AccessError, ServiceError, UsageError


def left(account: Account) -> list[str]:
    """What is in the account beside the bucket that was there before, as moto itself has it."""
    found = account.client("sqs").list_queues().get("QueueUrls", [])
    found += [one["Name"] for one in account.client("s3").list_buckets()["Buckets"]][1:]
    ec2, scaling = account.client("ec2"), account.client("autoscaling")
    for call, name in (
        (ec2.describe_launch_templates, "LaunchTemplates"),
        (ec2.describe_instances, "Reservations"),
        (scaling.describe_auto_scaling_groups, "AutoScalingGroups"),
        (account.client("logs").describe_log_groups, "logGroups"),
        (account.client("cloudwatch").describe_alarms, "MetricAlarms"),
    ):
        found += [str(one) for one in call()[name]]
    return found


@pytest.fixture
def rehearse_by_command(
    account: Account, vendors: Any, queues_by_the_clock: None, parallelize: Any
) -> Callable[..., tuple[int, Any, str, list[Any]]]:
    """Run `doctor --live`; answer its exit code, its JSON, what it said, and its transcript."""
    path = Path("transcript.jsonl")

    def call(*words: str) -> tuple[int, Any, str, list[Any]]:
        code, out, err = parallelize(
            "doctor", "--live", "--json", "--transcript", str(path), *words
        )
        lines = path.read_text().splitlines() if path.exists() else []
        return code, json.loads(out) if out else None, err, [json.loads(line) for line in lines]

    return call


def trying(**probes):
    """A rehearsal of other probes."""
    planned = free_of_machines(open_context(NOTHING))
    return Rehearsal(planned.context, probes, KINDS, ())


def test_everything_is_tried_and_nothing_is_left(rehearse_by_command, account):
    code, told, err, _ = rehearse_by_command("--yes")
    assert code == 0, err
    seen = [(one["check"], one["text"]) for one in told["findings"]]
    assert ("queues", "used at once after creation: NonExistentQueue") in seen
    assert ("queues", "a message whose lease ran out: hidden first, then back") in seen
    assert ("queues", "a message received once too often: moved") in seen
    assert ("objects", "a second multipart upload to a key: PreconditionFailed") in seen
    assert ("fleets", "CreateFleet by dry run: DryRunOperation") in seen
    assert ("fleets", "a group that was just deleted: made again after 94 s") in seen
    assert ("watching", "a log line: accepted") in seen
    assert seen[-1][0] == "left"
    assert seen[-1][1].startswith("nothing (looked for: Auto Scaling group, machine")
    assert left(account) == []


def test_the_transcript_has_each_call_with_its_answer_or_code_and_its_times(rehearse_by_command):
    _, _, _, (header, *written) = rehearse_by_command("--yes")
    assert header["schema"] == 1
    lines = [line for line in written if "said" not in line]
    assert written[-1] == {"step": "deletion", "good": True, "said": "left: nothing"}
    services = {"sqs", "s3", "ec2", "autoscaling", "logs", "cloudwatch", "ssm"}
    assert {line["service"] for line in lines} == services
    assert all(("answer" in line) != ("error" in line) for line in lines)
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert lines[1]["error"] == {"code": "AWS.SimpleQueueService.NonExistentQueue", "status": 400}


def test_it_says_first_what_it_will_do_and_what_it_costs(rehearse_by_command):
    _, _, err, _ = rehearse_by_command("--yes")
    told = err.partition("good")[0]
    assert "in account 123456789012, eu-west-1" in told
    assert "three queues, a bucket" in told
    assert "costs less than $0.001, and starts no machine" in told


def test_without_a_terminal_and_without_yes_nothing_is_made(rehearse_by_command, account):
    code, _, err, lines = rehearse_by_command()
    assert code == 2
    assert "cannot ask for confirmation" in err
    assert (lines, left(account)) == ([], [])


class Terminal(io.StringIO):
    """A terminal at which somebody has typed something."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_at_a_terminal_it_asks_and_does_nothing_without_a_yes(
    rehearse_by_command, account, monkeypatch, typed, code
):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys, "stderr", screen)
    found, _, _, lines = rehearse_by_command()
    assert found == code
    assert "less than $0.001, and starts no machine\nGo ahead? [y/N] " in screen.getvalue()
    assert bool(lines) == (code == 0)
    assert left(account) == []


def test_a_transcript_that_is_there_is_not_written_over(rehearse_by_command, account, tmp_path):
    (tmp_path / "transcript.jsonl").write_text('"mine"\n')
    code, _, err, lines = rehearse_by_command("--yes")
    assert code == 2
    assert "transcript.jsonl cannot be created" in err
    assert (lines, left(account)) == (["mine"], [])


def test_a_dry_run_says_what_would_be_done_and_does_nothing(rehearse_by_command, account):
    code, _, err, lines = rehearse_by_command("--yes", "--dry-run")
    assert code == 0
    assert all(line.startswith("(dry run)") for line in err.splitlines())
    assert "costs less than $0.001" in err
    assert (lines, left(account)) == ([], [])


def test_a_machine_is_only_for_a_rehearsal(account, parallelize):
    code, _, err = parallelize("doctor", "--machine")
    assert code == 2
    assert "need --live" in err


def test_the_users_own_tags_and_account_are_not_in_the_transcript(rehearse_by_command, tmp_path):
    tags = '[aws.tags]\nkeeper = "anna@example.org"\ncode = "hunter2"\n'
    (tmp_path / "parallelize.toml").write_text(tags)
    code, _, err, _ = rehearse_by_command("--yes")
    assert code == 0, err
    text = (tmp_path / "transcript.jsonl").read_text()
    private = ("keeper", "anna", "hunter2", "123456789012", "arn:", "http", "ami-", "subnet-")
    assert [one for one in private if one in text] == []


def test_after_ctrl_c_everything_is_deleted_and_said_to_be(
    account, vendors, queues_by_the_clock, capsys
):
    def interrupted(trial):
        for made in (queues, objects, fleets, watching):
            yield from made.probe(trial)
        assert left(account)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse(trying(queues=interrupted), None)
    assert "good  left         nothing (looked for" in capsys.readouterr().err
    assert left(account) == []


def test_a_second_ctrl_c_does_not_stop_the_deletion(account, queues_by_the_clock):
    def find(_):
        os.kill(os.getpid(), signal.SIGINT)
        return []

    kinds = (Kind("statue", find, find), queues.KIND)
    rehearsal = Rehearsal(trying().context, {"queues": queues.probe}, kinds, ())
    try:
        rehearse(rehearsal, None)
    except KeyboardInterrupt:
        pytest.fail("the deletion was interrupted")
    assert left(account) == []


@pytest.mark.parametrize("after", range(4))
def test_ctrl_c_between_two_steps_leaves_nothing(account, vendors, queues_by_the_clock, after):
    def interrupted(trial):
        steps = fleets.probe(trial) if after > 1 else queues.probe(trial)
        for _ in range(after % 2):
            yield next(steps)
        next(steps)
        assert left(account)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse(trying(some=interrupted), None)
    assert left(account) == []


def test_a_step_that_fails_does_not_stop_the_others_and_leaves_nothing(
    account, queues_by_the_clock, capsys
):
    def failing(trial):
        yield queues.use_at_once(trial)
        raise ServiceError("SQS is out of order")

    findings = rehearse(trying(queues=failing, watching=watching.probe), None)
    told = [(one.verdict, one.check, one.text) for one in findings]
    assert ("bad", "queues", "stopped early: SQS is out of order") in told
    assert ("good", "watching", "a log line: accepted") in told
    assert told[-1][:2] == ("good", "left")
    assert left(account) == []


def test_an_answer_that_makes_no_sense_ends_its_probe_alone(account, queues_by_the_clock):
    def puzzled(trial):
        yield queues.use_at_once(trial)
        yield {}["nothing"]

    findings = rehearse(trying(queues=puzzled, watching=watching.probe), None)
    assert [one.text for one in findings if one.check == "queues"][1:] == [
        "stopped early: AWS's answer cannot be understood"
    ]
    assert findings[-1].text.startswith("nothing")


def test_what_cannot_be_deleted_is_named(account, queues_by_the_clock):
    stubborn = Kind("statue", lambda _: ["liberty"], lambda *_: None)
    kinds = (stubborn, queues.KIND)
    rehearsal = Rehearsal(trying().context, {"queues": queues.probe}, kinds, ())
    findings = rehearse(rehearsal, None)
    assert [(one.verdict, one.text) for one in findings if one.check == "left"] == [
        ("bad", "statue liberty")
    ]
    assert left(account) == []


def test_what_cannot_be_deleted_yet_is_tried_again(account, queues_by_the_clock):
    there = ["liberty"]

    def delete(_, name):
        if account.strict.world.clock.slept < 10:
            raise ServiceError("it is in use")
        there.remove(name)

    rehearsal = Rehearsal(trying().context, {}, (Kind("statue", lambda _: [*there], delete),), ())
    (finding,) = rehearse(rehearsal, None)
    assert (finding.verdict, finding.text) == ("good", "nothing (looked for: statue)")


def test_what_nobody_may_delete_is_not_waited_for(account, queues_by_the_clock):
    def delete(*_):
        raise AccessError("not allowed")

    rehearsal = Rehearsal(trying().context, {}, (Kind("statue", lambda _: ["x"], delete),), ())
    (finding,) = rehearse(rehearsal, None)
    assert (finding.verdict, finding.text) == ("bad", "statue x: not allowed")
    assert account.strict.world.clock.slept == 0


def test_what_cannot_be_looked_for_is_said(account, queues_by_the_clock):
    def find(_):
        raise UsageError("nobody may look")

    rehearsal = Rehearsal(trying().context, {}, (Kind("statue", find, find),), ())
    (finding,) = rehearse(rehearsal, None)
    assert (finding.verdict, finding.text) == ("bad", "statue: nobody may look")


def test_the_transcript_is_no_input_of_the_project_that_it_lies_in(
    account, queues_by_the_clock, tmp_path
):
    rehearse(trying(queues=queues.probe), None)
    (path,) = tmp_path.glob("doctor-*.jsonl")
    assert products(open_context(NOTHING)).has(str(path), is_folder=False)


def test_the_name_is_another_each_time(account):
    names = {trying().context.run for _ in range(3)}
    assert len(names) == 3
