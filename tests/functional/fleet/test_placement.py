"""Placement scores: told before a spot launch, and no reason not to launch."""

import json

import pytest
from tests.strict_aws.rules.market import PlacementScores

from parallelize.context import open_context
from parallelize.operations.crew import launch_missing
from parallelize.operations.status import make_reader
from parallelize.options import Common
from parallelize.runs.state.status import status_of

TYPES = "c7i.xlarge,c6i.xlarge,m6i.xlarge"


@pytest.fixture
def scans(account, monkeypatch):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", TYPES)
    return account.prepare("scans", files=40)


@pytest.fixture
def scores(account):
    return account.strict.rule(PlacementScores)


def test_a_spot_launch_says_how_likely_it_is_to_get_its_machines(scans, parallelize):
    code, _, err = parallelize("launch", "5", "--dry-run", "--run", "scans")
    assert code == 0
    assert "score    9 of 10 for 8 spot machines, by EC2" in err


def test_run_says_so_too_before_it_starts_any(scans, account, capsys):
    context = open_context(Common(run="scans"))
    launch_missing(context, status_of(make_reader(context).snapshot()))
    assert (
        "score    9 of 10 for 2 spot machines, by EC2\n2 workers launched"
        in capsys.readouterr().err
    )
    assert len(account.machines("scans")) == 2


def test_the_score_is_in_the_json(scans, parallelize):
    _, out, _ = parallelize("launch", "1", "--json", "--run", "scans")
    assert json.loads(out)["placement_score"] == 9


def test_launches_of_many_sizes_are_few_questions(account, scans, scores, parallelize):
    for count in (1, 2, 3, 5, 7, 9, 12, 20):
        _, _, err = parallelize("launch", str(count), "--dry-run", "--run", "scans")
        assert "9 of 10" in err, err
    assert len(scores.windows.any_open()) == 6


def test_a_launch_goes_on_when_ec2_takes_no_more_questions(account, scans, scores, parallelize):
    scores.most = 0
    code, _, err = parallelize("launch", "2", "--run", "scans")
    assert code == 0
    assert "score    not known (MaxConfigLimitExceeded)" in err
    assert len(account.machines("scans")) == 2


def test_a_launch_goes_on_where_nobody_knows_the_call(
    account, scans, scores, parallelize, monkeypatch
):
    monkeypatch.setattr(scores, "before", lambda _: None)
    code, _, err = parallelize("launch", "2", "--run", "scans")
    assert code == 0, err
    assert "score    not known (" in err


@pytest.mark.parametrize(
    ("types", "words"),
    [("c7i.xlarge,c6i.xlarge", ()), (TYPES, ("--market", "on-demand"))],
)
def test_ec2_is_not_asked_what_it_has_no_useful_answer_to(
    scans, scores, parallelize, monkeypatch, types, words
):
    monkeypatch.setenv("PARALLELIZE_WORKERS_TYPES", types)
    code, _, err = parallelize("launch", "2", "--dry-run", *words, "--run", "scans")
    assert code == 0
    assert "score" not in err
    assert scores.windows.any_open() == []
