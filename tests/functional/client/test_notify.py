"""What `prep` stores of run.notify, and that the secret in it is shown nowhere."""

from __future__ import annotations

import pytest
from tests.functional.client.conftest import Project

from parallelize_core.notify import Notify

SECRET = "T0000-secret"  # made up
URL = f"https://hooks.example.org/services/{SECRET}"


def stored(project: Project) -> Notify:
    return Notify.decode(project.store.get(project.layout.notify))


@pytest.fixture
def told(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    project.add("a.txt")
    monkeypatch.setenv("PARALLELIZE_RUN_NOTIFY", URL)
    assert project.call("prep") == 0
    return project


def test_a_webhook_is_stored_for_the_workers(told: Project) -> None:
    assert stored(told) == Notify(url=URL)


def test_a_command_is_stored_as_its_words(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")
    monkeypatch.setenv("PARALLELIZE_RUN_NOTIFY", "./tell.sh --to 'the lab'")
    assert project.call("prep") == 0
    assert stored(project) == Notify(command=("./tell.sh", "--to", "the lab"))


def test_who_wants_to_hear_nothing_any_more_is_not_told(
    told: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PARALLELIZE_RUN_NOTIFY")
    assert told.call("prep") == 0
    assert told.store.head(told.layout.notify) is None


def test_where_there_is_no_topic_an_e_mail_is_refused_in_words_and_nothing_else_is(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.add("a.txt")
    monkeypatch.setenv("PARALLELIZE_RUN_NOTIFY", "ana@example.org")
    assert project.call("prep") == 0
    assert "run.notify: no e-mail will be sent" in capsys.readouterr().err
    assert project.store.head(project.layout.notify) is None


def test_a_dry_run_stores_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.add("a.txt")
    monkeypatch.setenv("PARALLELIZE_RUN_NOTIFY", URL)
    assert project.call("prep", "--dry-run") == 0
    assert project.store.head(project.layout.notify) is None


@pytest.mark.parametrize(
    "words", [["config", "show"], ["config", "show", "--json"], ["report", "--json"]]
)
def test_no_view_shows_the_secret_of_a_webhook(
    told: Project, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert told.call(*words) == 0
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err
    assert "hooks.example.org" in printed.out


def test_the_page_on_a_run_does_not_have_the_secret_either(told: Project) -> None:
    assert told.call("report") == 0
    [page] = told.folder.glob("*.html")
    assert SECRET not in page.read_text()


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (f"http://hooks.example.org/{SECRET}", "a webhook needs an https:// address"),
        (f"https://ana:{SECRET}@hooks.example.org/", "not contain a user name or password"),
        (f"https:///{SECRET}", "this is not a web address"),
        (f"https://hooks.example.org:x/{SECRET}", "this is not a web address"),
        (f"htps://hooks.example.org/{SECRET}", "a webhook needs an https:// address"),
        (f"./tell '{SECRET}", "this command cannot be read"),
        (" ", "it is empty"),
    ],
)
def test_what_nobody_can_be_told_by_is_refused_without_repeating_it(
    project: Project,
    target: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PARALLELIZE_RUN_NOTIFY", target)
    assert project.call("prep") == 2
    said = capsys.readouterr().err
    assert why in " ".join(said.split())
    assert SECRET not in said
