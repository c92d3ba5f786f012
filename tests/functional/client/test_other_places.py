"""Queues and machines of one account are found by a run's name: only one place can have it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.functional.client.conftest import Project

from parallelize.context import Context, open_context
from parallelize.operations.prep import ensure_bucket
from parallelize.options import Common
from parallelize.queues import PLACE, OthersQueueError, find_place, make_queues, place_tag
from parallelize_core.layout import Location, RunLayout
from parallelize_core.names import Names

Captured = pytest.CaptureFixture[str]
Move = Callable[[], Context]


PLACES = ("PARALLELIZE_BUCKET", "PARALLELIZE_AWS_PREFIX")


def come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in the place that commands take if nothing is said."""
    monkeypatch.delenv("PARALLELIZE_AWS_PREFIX")
    project.__dict__.pop("context")
    return project


@pytest.fixture(params=PLACES)
def elsewhere(
    request: pytest.FixtureRequest, project: Project, monkeypatch: pytest.MonkeyPatch
) -> Move:
    """Take the commands that follow to another bucket, or to another prefix."""

    def move() -> Context:
        monkeypatch.setenv(request.param, f"other-{project.run}")
        context = open_context(Common())
        ensure_bucket(context, create=True)
        return context

    return move


COMMANDS = [
    ("prep",), ("run",), ("enqueue",), ("estimate",), ("retry",), ("launch", "1"), ("scale", "0"),
    ("stop",), ("kill",),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_run_of_the_same_name_elsewhere_is_refused_and_the_queue_stays_as_it_is(
    project: Project, elsewhere: Move, capsys: Captured, monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:  # fmt: skip
    project.add("a.txt")
    elsewhere()
    assert project.call("prep") == 0
    come_back(monkeypatch)
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    waiting = project.context.queues.main.counts()
    elsewhere()
    capsys.readouterr()
    assert project.call(*command) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"another run in this account has the name {project.run}" in told
    assert place_tag(project.layout.root) in told
    assert "--run NAME" in told
    assert project.context.queues.main.counts() == waiting


def test_a_clean_there_leaves_the_queue_and_the_machines_to_the_other(
    project: Project, elsewhere: Move, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")
    context = elsewhere()
    assert project.call("prep") == 0
    come_back(monkeypatch)
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    assert project.call("launch", "1") == 0
    elsewhere()
    capsys.readouterr()
    assert project.call("clean", "--yes") == 0
    assert "queues and machines stay" in capsys.readouterr().err
    assert not list(context.store.list(context.layout.root.prefix))
    assert project.context.queues.main.counts().total == 1
    assert project.call("clean", "--yes") == 3
    come_back(monkeypatch)
    capsys.readouterr()
    assert project.call("kill") == 0
    assert "1 worker ended" in capsys.readouterr().err


def test_status_does_not_take_the_others_queue_for_its_own(
    project: Project, elsewhere: Move, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")
    elsewhere()
    assert project.call("prep") == 0
    come_back(monkeypatch)
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    elsewhere()
    capsys.readouterr()
    assert project.call("status") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert f"queues and machines called {project.run} belong to the run in s3://" in told


def test_the_first_that_makes_the_queues_has_them(project: Project) -> None:
    sqs, tags = project.context.clients.sqs, project.context.queue_tags
    other = RunLayout(Location("other", "é/"), project.run).root
    make_queues(sqs, Names(project.run), tags)
    with pytest.raises(OthersQueueError, match="another run in this account"):
        make_queues(sqs, Names(project.run), {**tags, PLACE: place_tag(other)})
    assert find_place(sqs, Names(project.run)) == tags[PLACE]


def test_queues_of_a_former_version_become_those_of_the_run_that_uses_them(
    project: Project,
) -> None:
    sqs, tags = project.context.clients.sqs, project.context.queue_tags
    make_queues(sqs, Names(project.run), {"owner": "ana"})
    assert find_place(sqs, Names(project.run)) is None
    make_queues(sqs, Names(project.run), tags)
    assert find_place(sqs, Names(project.run)) == tags[PLACE]


@pytest.mark.parametrize("prefix", ["é/", "a b/", "x" * 300 + "/"])
def test_a_place_that_no_tag_can_name_is_told_apart_all_the_same(prefix: str) -> None:
    here, there = RunLayout(Location("b", prefix), "r"), RunLayout(Location("b", f"{prefix}-"), "r")
    assert place_tag(here.root) != place_tag(there.root)
    assert len(place_tag(here.root)) <= 256
    assert place_tag(here.root).isascii()
