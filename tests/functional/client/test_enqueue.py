"""`enqueue` against SQS: two queues, each job once, and nothing while messages wait."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.functional.client.conftest import Project

from parallelize.operations.enqueue import send_jobs
from parallelize.queues import make_queues
from parallelize_core import pause
from parallelize_core.config import AgentConfig, DrainSettings
from parallelize_core.errors import NothingToDoError
from parallelize_core.job import JobMessage
from parallelize_core.manifest import read_parts
from parallelize_core.names import Names

Captured = pytest.CaptureFixture[str]
AT_ONCE = DrainSettings(samples=2, interval_seconds=0)


def prepared(project: Project, *names: str) -> None:
    project.add(*names)
    assert project.call("prep") == 0


def take_all(project: Project) -> list[JobMessage]:
    """Receive and acknowledge everything that is on the queue."""
    queue = project.context.queues.main
    taken = []
    while messages := queue.receive(10, 0, 60):
        taken += [JobMessage.decode(message.body) for message in messages]
        queue.delete([message.receipt for message in messages])
    return taken


def attributes(project: Project, name: str) -> dict[str, str]:
    sqs = project.context.clients.sqs
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return {str(key): value for key, value in found.items()}


def test_each_job_is_sent_with_what_the_manifest_knows(project: Project) -> None:
    prepared(project, "a.txt", "deep/b.txt")
    assert project.call("enqueue") == 0
    (part,) = read_parts(project.store, project.layout)
    messages = take_all(project)
    assert sorted((m.key, m.size, m.etag) for m in messages) == [
        (entry.key, entry.size, entry.etag) for entry in part.entries
    ]
    assert {(m.run, m.attempt) for m in messages} == {(project.run, 1)}


def test_a_second_enqueue_sends_nothing_and_ends_with_3(project: Project, capsys: Captured) -> None:
    prepared(project, "a.txt", "b.txt")
    project.call("enqueue")
    assert project.call("enqueue") == 3
    assert "every job without a result is on the queue" in capsys.readouterr().err
    assert len(take_all(project)) == 2


def test_a_limit_then_the_rest(project: Project, capsys: Captured) -> None:
    prepared(project, *(f"{number}.txt" for number in range(25)))
    assert project.call("enqueue", "--limit", "10", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sent"] == 10
    assert project.call("enqueue") == 0
    assert Counter(m.key for m in take_all(project)) == Counter(
        f"{number}.txt" for number in range(25)
    )


def test_inputs_that_came_later_are_the_only_ones_sent(project: Project) -> None:
    prepared(project, "a.txt")
    project.call("enqueue")
    prepared(project, "b.txt")
    take_all(project)
    assert project.call("enqueue") == 0
    assert [m.key for m in take_all(project)] == ["b.txt"]


def test_lost_messages_are_sent_again_once_the_queue_is_surely_empty(project: Project) -> None:
    prepared(project, "a.txt", "b.txt", "c.txt")
    project.call("enqueue")
    project.finish("b.txt")
    take_all(project)
    done = send_jobs(project.context, drain=AT_ONCE)
    assert (done.sent, done.again) == (2, 2)
    assert sorted(m.key for m in take_all(project)) == ["a.txt", "c.txt"]


def test_when_every_job_has_a_result_it_says_so(project: Project) -> None:
    prepared(project, "a.txt", "b.txt")
    project.call("enqueue")
    take_all(project)
    project.finish("a.txt")
    project.finish("b.txt", failed=True)
    with pytest.raises(NothingToDoError, match="2 jobs finished, none left") as caught:
        send_jobs(project.context, drain=AT_ONCE)
    assert (caught.value.why, caught.value.fix) == ("1 failed", "parallelize retry")


def test_the_queues_keep_messages_long_and_the_dead_letter_queue_longer(project: Project) -> None:
    prepared(project, "a.txt")
    project.call("enqueue")
    main = attributes(project, Names(project.run).queue)
    dead = attributes(project, Names(project.run).dead_letter_queue)
    assert int(dead["MessageRetentionPeriod"]) == 14 * 24 * 60 * 60
    assert int(main["MessageRetentionPeriod"]) < int(dead["MessageRetentionPeriod"])
    redrive = json.loads(main["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == dead["QueueArn"]
    default = AgentConfig.model_fields["max_receives"].default
    assert int(redrive["maxReceiveCount"]) > default


def test_queues_that_exist_with_other_attributes_are_brought_up_to_date(project: Project) -> None:
    sqs = project.context.clients.sqs
    sqs.create_queue(
        QueueName=Names(project.run).queue, Attributes={"MessageRetentionPeriod": "60"}
    )
    for _ in range(2):
        make_queues(sqs, Names(project.run), {"owner": "ana"})
    assert int(attributes(project, Names(project.run).queue)["MessageRetentionPeriod"]) > 60


def test_the_queues_carry_the_runs_tags_which_no_setting_can_hide(project: Project) -> None:
    with (project.folder / "parallelize.toml").open("a") as file:
        file.write('[aws]\ntags = { owner = "ana", "parallelize:run" = "another" }\n')
    prepared(project, "a.txt")
    project.call("enqueue")
    sqs = project.context.clients.sqs
    url = sqs.get_queue_url(QueueName=Names(project.run).queue)["QueueUrl"]
    tags = sqs.list_queue_tags(QueueUrl=url)["Tags"]
    assert (tags["owner"], tags["parallelize:run"]) == ("ana", project.run)


def test_a_paused_run_goes_on(project: Project) -> None:
    prepared(project, "a.txt")
    pause.pause(project.store, project.layout, "too many failures")
    assert project.call("enqueue") == 0
    assert pause.resume(project.store, project.layout) is False


def test_without_prep_there_is_nothing_to_send(project: Project, capsys: Captured) -> None:
    assert project.call("enqueue") == 2
    told = capsys.readouterr().err
    assert f'there is no run "{project.run}"' in told
    assert "fix: parallelize prep" in told


def test_a_dry_run_makes_no_queue(project: Project, capsys: Captured) -> None:
    prepared(project, "a.txt", "b.txt")
    capsys.readouterr()
    assert project.call("enqueue", "--limit", "1", "--dry-run") == 0
    assert "(dry run) would send 1 job to the queue" in capsys.readouterr().err
    queues = project.context.clients.sqs.list_queues(QueueNamePrefix=Names(project.run).queue)
    assert "QueueUrls" not in queues


@pytest.mark.timeout(300)  # moto stores about 600 objects a second when nothing else runs
def test_two_thousand_inputs_are_each_sent_once(project: Project, capsys: Captured) -> None:
    prepared(project, *(f"{number % 20}/{number}" for number in range(2000)))
    capsys.readouterr()
    assert project.call("prep", "--json") == 0
    assert json.loads(capsys.readouterr().out)["uploaded"] == 0
    assert project.call("enqueue", "--limit", "1500") == 0
    assert project.call("enqueue") == 0
    counts = Counter(message.key for message in take_all(project))
    assert len(counts) == 2000
    assert set(counts.values()) == {1}
