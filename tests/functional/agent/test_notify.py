"""People are told once of the end of a run, whatever becomes of the worker that tells first."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.functional.agent.bench import SWIFT, Bench, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.live import at_work
from tests.functional.core.transport.certificates import Authority
from tests.functional.webhook import Webhook, webhook

from parallelize_agent.notify import standing
from parallelize_agent.notify.means import Means, Patience
from parallelize_agent.notify.webhook import post
from parallelize_core.errors import ServiceError, UnavailableError
from parallelize_core.notify import Delivery, Event, Notify
from parallelize_core.pause import cost_limit_reason, pause, resume
from parallelize_core.run import Limits
from parallelize_core.store import IF_ABSENT
from parallelize_core.testing import AsyncInMemoryStore

QUICK = SWIFT.model_copy(update={"run_refresh_seconds": 0.1})
SOME_FAIL = 'case "$1" in *bad*) exit 65;; esac; echo x > "$(basename "$1").out"; echo *.out'
HASTY = Patience(send=2, first_pause=0.01, silence=0.3, look=0.05)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as made:
        yield made


def ask(bench: Bench, notify: Notify) -> None:
    bench.store.put(bench.layout.notify, notify.encode())


def deliveries(bench: Bench) -> list[Delivery]:
    prefix = bench.layout.delivery("").removesuffix(".json")
    return [Delivery.decode(bench.store.get(item.key)) for item in bench.store.list(prefix)]


def test_people_are_told_once_that_a_run_is_finished(make: MakeBench, hook: Webhook) -> None:
    bench = make(SOME_FAIL)
    ask(bench, Notify(url=hook.url))
    bench.add({"a": b"", "bad": b"", "c": b""})
    three = [bench.worker("w1"), bench.worker("w2"), bench.worker("w3")]
    with capture_logs() as lines, at_work(*three) as workers:
        assert {worker.join().reason for worker in workers} == {"every job has its result"}
    [told] = hook.posted
    assert told["schema"] == 1
    assert told["event"] == "finished"
    assert (told["total"], told["done"], told["failed"], told["left"]) == (3, 2, 1, 0)
    assert told["run"] == "r"
    assert told["cost_usd"] >= 0
    assert told["next"] == "parallelize failures --run r --local"
    assert told["text"].startswith("r is finished: 2 of 3 files done, 1 failed, about $0.0")
    assert told["text"].endswith("Next: parallelize failures --run r --local")
    assert [one.sent for one in deliveries(bench)] == [True]
    assert [line["event"] for line in lines if "people" in line["event"]] == ["people told"]


def test_a_run_of_which_nobody_wants_to_hear_leaves_no_record(make: MakeBench) -> None:
    bench = make(SOME_FAIL)
    bench.add({"a": b""})
    bench.run()
    assert deliveries(bench) == []


def test_the_same_end_is_not_told_again_by_workers_that_come_later(
    make: MakeBench, hook: Webhook
) -> None:
    bench = make(SOME_FAIL)
    ask(bench, Notify(url=hook.url))
    bench.add({"a": b""})
    bench.run("w1")
    bench.run("w2")
    assert len(hook.posted) == 1


def test_a_run_that_went_on_and_ended_again_is_told_again(make: MakeBench, hook: Webhook) -> None:
    bench = make(SOME_FAIL)
    ask(bench, Notify(url=hook.url))
    bench.add({"a": b"", "b": b""}, sent=1, send=False)
    bench.queue.send([bench.message("a").encode()])
    bench.run("w1")
    bench.add({"c": b""})
    bench.run("w2")
    assert [(told["done"], told["unsent"]) for told in hook.posted] == [(1, 1), (2, 1)]
    assert hook.posted[0]["next"] == "parallelize enqueue --run r --local"
    assert len({told["id"] for told in hook.posted}) == 2


def test_people_are_told_once_that_a_run_is_paused_and_why(make: MakeBench, hook: Webhook) -> None:
    bench = make("sleep 0.1; exit 65", limits=Limits(halt="3"), config=QUICK)
    ask(bench, Notify(url=hook.url))
    bench.add({f"bad{number}": b"" for number in range(40)})
    with at_work(bench.worker("w1"), bench.worker("w2")) as workers:
        for worker in workers:
            worker.join()
    [told] = hook.posted
    assert told["event"] == "paused"
    assert told["reason"] == bench.read_run().paused
    assert told["left"] > 0
    assert told["next"] == "parallelize failures --run r --local"


class SlowToStore(AsyncInMemoryStore):
    """A bucket that takes its time with results."""

    async def put(self, key, *args):  # type: ignore[no-untyped-def]
        if key.startswith("runs/r/result/"):
            await asyncio.sleep(0.3)
        return await super().put(key, *args)


def test_what_paused_the_run_is_among_the_failures_that_are_told(
    make: MakeBench, hook: Webhook
) -> None:
    config = QUICK.model_copy(update={"slots": 1})
    bench = make("exit 65", limits=Limits(halt="3"), config=config)
    ask(bench, Notify(url=hook.url))
    bench.add({f"bad{number}": b"" for number in range(9)})
    slow = SlowToStore(bench.store)
    with at_work(bench.worker(open_store=lambda _: slow)) as [worker]:
        worker.join()
    [told] = hook.posted
    counted = re.fullmatch(r"(\d) of 9 files have failed \(run.halt is 3\)", told["reason"])
    # Another job may have failed since the pause.
    assert counted
    assert 3 <= int(counted[1]) <= told["failed"]


def test_a_pause_is_told_while_the_last_jobs_still_run(make: MakeBench, hook: Webhook) -> None:
    bench = make("sleep 60", config=QUICK)
    ask(bench, Notify(url=hook.url))
    bench.add({"a": b""})
    worker = bench.worker()
    with at_work(worker) as [background]:
        until(lambda: worker.describe().running)
        pause(bench.store, bench.layout, "somebody says so")
        until(lambda: hook.posted)
        assert worker.describe().running == ("a",)
        background.leave(0)


def test_a_run_that_is_paused_again_is_told_again(make: MakeBench, hook: Webhook) -> None:
    bench = make("true", config=QUICK)
    ask(bench, Notify(url=hook.url))
    bench.add({"a": b""}, send=False)
    for name in ("w1", "w2"):
        pause(bench.store, bench.layout, "the same reason")
        with at_work(bench.worker(name)) as [background]:
            background.join()
        resume(bench.store, bench.layout)
    assert [told["event"] for told in hook.posted] == ["paused", "paused"]


def test_a_run_out_of_budget_says_so(make: MakeBench, hook: Webhook) -> None:
    bench = make("sleep 0.05", config=QUICK)
    ask(bench, Notify(url=hook.url))
    bench.add({f"a{number}": b"" for number in range(40)})
    pause(bench.store, bench.layout, cost_limit_reason(20, 20.5))
    bench.run()
    [told] = hook.posted
    assert told["event"] == "out-of-budget"
    assert "r is paused: out of budget (the cost limit of $20.00 is reached" in told["text"]
    assert told["next"].startswith("raise workers.max_cost, then parallelize enqueue --run r")


def begun(bench: Bench) -> str:
    """Leave the record of a worker that died between its claim and the sending."""
    end = standing.identify(bench.store, bench.layout, bench.read_run(), Event.FINISHED)
    place = bench.layout.delivery(f"finished-{end}")
    assert bench.store.put(place, Delivery(worker="w0").encode(), IF_ABSENT)
    return place


def test_what_a_worker_that_died_had_begun_to_tell_is_told_by_another(
    make: MakeBench, hook: Webhook
) -> None:
    bench = make(SOME_FAIL)
    bench.means = replace(bench.means, patience=HASTY)
    bench.add({"a": b""})
    bench.run("w1")
    place = begun(bench)
    ask(bench, Notify(url=hook.url))
    bench.run("w2")
    assert len(hook.posted) == 1
    assert Delivery.decode(bench.store.get(place)) == Delivery(worker="w2", sent=True)


def test_the_leader_tells_before_the_others_hear_of_it_and_leave(make: MakeBench) -> None:
    decided: list[object] = []
    bench = make(SOME_FAIL)
    bench.means = Means(lambda *_: decided.append(worker.decided))
    ask(bench, Notify(topic="arn:aws:sns:eu-west-1:123456789012:parallelize-alarms"))
    bench.add({"a": b""})
    worker = bench.worker()
    worker.run()
    assert decided == [None]


def test_a_worker_waits_for_one_that_is_about_to_tell(make: MakeBench, hook: Webhook) -> None:
    bench = make(SOME_FAIL)
    bench.means = replace(bench.means, patience=replace(HASTY, silence=600))
    bench.add({"a": b""})
    bench.run("w1")
    place = begun(bench)
    ask(bench, Notify(url=hook.url))
    worker = bench.worker("w2")
    with at_work(worker) as [background]:
        until(lambda: bench.store.head(bench.layout.heartbeat("w2")))
        assert worker.decided is None
        bench.store.put(place, Delivery(worker="w0", sent=True).encode())
        assert background.join().reason == "every job has its result"
    assert hook.posted == []


@pytest.mark.parametrize("answers", [[503], [429, 500]])
def test_a_webhook_that_fails_for_a_moment_is_asked_again(
    make: MakeBench, answers: list[int]
) -> None:
    bench = make(SOME_FAIL)
    with webhook(answers) as hook:
        ask(bench, Notify(url=hook.url))
        bench.add({"a": b""})
        bench.run()
    assert len(hook.posted) == len(answers) + 1
    assert len({told["id"] for told in hook.posted}) == 1
    assert [one.sent for one in deliveries(bench)] == [True]


def test_a_webhook_that_refuses_is_not_asked_again_and_the_run_ends_well(
    make: MakeBench,
) -> None:
    bench = make(SOME_FAIL)
    with webhook([404] * 9) as hook, capture_logs() as lines:
        ask(bench, Notify(url=hook.url))
        bench.add({"a": b""})
        assert bench.run().error is None
    assert len(hook.posted) == 1
    assert [one.failed for one in deliveries(bench)] == ["the webhook answered 404"]
    assert "secret-part" not in json.dumps(lines, default=str)


def test_no_redirect_of_a_webhook_is_followed(make: MakeBench, hook: Webhook) -> None:
    bench = make(SOME_FAIL)
    with webhook([307], location=hook.url) as first:
        ask(bench, Notify(url=first.url))
        bench.add({"a": b""})
        bench.run()
    assert hook.posted == []
    [told] = deliveries(bench)
    assert "the webhook answered 307" in told.failed


def test_a_webhook_on_this_machine_is_refused_unless_s3_is_here_too(
    make: MakeBench, hook: Webhook
) -> None:
    bench = make(SOME_FAIL)
    bench.means = Means(patience=HASTY)
    ask(bench, Notify(url=hook.url))
    bench.add({"a": b""})
    with capture_logs() as lines:
        assert bench.run().error is None
    assert hook.posted == []
    assert [one.sent for one in deliveries(bench)] == [False]
    assert "secret-part" not in json.dumps(lines, default=str)


@pytest.fixture
def tls_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    authority = Authority.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", authority.bundle)
    with webhook(tls=authority.server_context("127.0.0.1")) as made:
        yield made


def test_a_webhook_is_told_by_https_without_credentials(tls_hook: Webhook) -> None:
    post(tls_hook.url, {"text": "it is over"}, on_loopback=True)
    assert tls_hook.posted == [{"text": "it is over"}]
    assert tls_hook.paths == ["/hook/secret-part"]
    assert set(tls_hook.headers[0]) == {
        "Host", "Accept-Encoding", "Content-Length", "Content-Type", "User-Agent",
    }  # fmt: skip


def test_a_webhook_whose_name_leads_to_this_machine_gets_nothing(tls_hook: Webhook) -> None:
    with pytest.raises(ServiceError, match="points to this machine itself"):
        post(tls_hook.url, {"text": "it is over"})
    assert tls_hook.posted == []


def test_a_webhook_that_proves_itself_with_another_certificate_gets_nothing(
    tls_hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UnavailableError):
        post(tls_hook.url, {}, on_loopback=True)
    assert tls_hook.posted == []


def test_a_record_of_how_to_tell_that_cannot_be_read_is_not_logged(make: MakeBench) -> None:
    bench = make(SOME_FAIL)
    bench.store.put(bench.layout.notify, b'{"url": ["https://secret-part"]}')
    bench.add({"a": b""})
    with capture_logs() as lines:
        assert bench.run().reason == "every job has its result"
    assert "notification not sent" in [line["event"] for line in lines]
    assert "secret-part" not in json.dumps(lines, default=str)


TELL = """#!/bin/sh
env > "{out}/environ"; pwd > "{out}/folder"; cat "$1" > "{out}/told"; cat data.txt >> "{out}/data"
"""


def test_a_command_is_run_as_a_job_is_and_given_the_notification(
    make: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do not tell")
    bench = make(SOME_FAIL, files={"tell.sh": TELL.format(out=tmp_path)})
    ask(bench, Notify(command=("./tell.sh",)))
    bench.add({"a": b""})
    bench.run()
    told = json.loads((tmp_path / "told").read_text())
    assert (told["event"], told["done"]) == ("finished", 1)
    assert (tmp_path / "data").read_text() == "data\n"
    environ = (tmp_path / "environ").read_text()
    assert "PARALLELIZE_RUN=r" in environ
    assert "do not tell" not in environ
    folder = Path((tmp_path / "folder").read_text().strip())
    assert folder.is_relative_to(bench.folder / "w1" / "jobs")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("sh", "-c", "exit 3"), "the command of run.notify ended with exit 3"),
        (("./none.sh",), "the command of run.notify"),
    ],
)
def test_a_command_that_fails_is_told_in_the_record_and_the_run_ends_well(
    make: MakeBench, command: tuple[str, ...], why: str
) -> None:
    bench = make(SOME_FAIL)
    ask(bench, Notify(command=command))
    bench.add({"a": b""})
    assert bench.run().error is None
    [told] = deliveries(bench)
    assert why in told.failed


TOPIC = "arn:aws:sns:eu-west-1:123456789012:parallelize-alarms"
BUDGET = cost_limit_reason(20, 20.5)


@pytest.mark.parametrize(
    ("paused", "files", "subject", "next_step"),
    [
        ("", 1, "r is finished: 1 of 1 files done, 0 failed", "parallelize download DIR --run r"),
        ("by ana", 40, "r is paused (by ana): ", "parallelize status --run r"),
        (BUDGET, 40, f"r is paused: out of budget ({BUDGET}): ",
         "raise workers.max_cost, then parallelize enqueue --run r"),
        (BUDGET, 1, f"r is paused: out of budget ({BUDGET}): 1 of 1 files done",
         "parallelize download DIR --run r"),
    ],
)  # fmt: skip
def test_an_e_mail_says_what_has_happened_what_it_cost_and_what_to_do_next(
    make: MakeBench, tmp_path: Path, paused: str, files: int, subject: str, next_step: str
) -> None:
    published: list[tuple[str, str, str]] = []
    begun, go = tmp_path / "begun", tmp_path / "go"
    wait = f"touch {begun}; until [ -e {go} ]; do sleep 0.01; done; sleep 0.05"
    bench = make(f"{wait}; {SOME_FAIL}", config=QUICK)
    bench.means = Means(lambda *words: published.append(words))
    ask(bench, Notify(topic=TOPIC))
    bench.add({f"a{number}": b"" for number in range(files)})
    with at_work(bench.worker()) as [worker]:
        # A worker that sees the pause before it has a job does none.
        until(begun.exists)
        if paused:
            pause(bench.store, bench.layout, paused)
        go.touch()
        worker.join()
    [(topic, told_subject, told)] = published
    line, _, body = told.partition("\n\n")
    assert topic == TOPIC
    assert told_subject == f"parallelize: {re.split(r' [(]|: [0-9]', subject)[0]}"
    assert line.startswith(subject)
    assert ", about $0.0" in line
    assert f". Next: {next_step}" in line
    assert json.loads(body)["schema"] == 1
