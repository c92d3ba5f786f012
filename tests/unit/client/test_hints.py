"""Proposed commands mean the same run and the same cloud as the command that proposes them."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.cli import make_app
from parallelize.hints import PROPOSED, repeat_flags


@pytest.mark.parametrize(
    ("fix", "expected"),
    [
        (
            "parallelize enqueue, or parallelize retry\n  (--force anyway)",
            "parallelize enqueue --local, or parallelize retry --local\n  (--force anyway)",
        ),
        ("parallelize kill   again, until", "parallelize kill --local   again, until"),
        ("parallelize enqueue resumes it", "parallelize enqueue --local resumes it"),
        ("parallelize retry --local", "parallelize retry --local"),
        ("parallelize local start", "parallelize local start"),
        ("parallelize image build", "parallelize image build"),
        ("chmod +x env/job.sh", "chmod +x env/job.sh"),
    ],
)
def test_a_proposed_command_stays_in_the_local_cloud(fix, expected):
    assert repeat_flags(fix, ["launch", "2", "--local"]) == expected


def test_a_proposed_command_means_the_same_run():
    words = ["launch", "--run=scans", "--config", "my project/p.toml", "1"]
    proposed = repeat_flags("parallelize enqueue", words)
    assert shlex.split(proposed) == [
        "parallelize", "enqueue", "--run", "scans", "--config", "my project/p.toml",
    ]  # fmt: skip


def test_a_run_that_is_named_already_is_not_replaced():
    fix = "parallelize kill --run forgotten"
    proposed = repeat_flags(fix, ["doctor", "--run", "scans", "--local"])
    assert proposed == "parallelize kill --local --run forgotten"


def test_a_command_for_the_local_cloud_gets_no_region_and_no_profile():
    words = ["status", "--region", "eu-west-1", "--profile", "lab", "--run", "scans"]
    proposed = repeat_flags("parallelize run --local", words)
    assert proposed == "parallelize run --run scans --local"


def test_setup_is_proposed_for_the_same_stack_and_place_and_for_no_run():
    words = ["doctor", "--stack", "lab", "--region", "eu-west-1", "--run", "scans"]
    proposed = repeat_flags("parallelize setup   makes it", words)
    assert proposed == "parallelize setup --stack lab --region eu-west-1   makes it"
    assert repeat_flags("parallelize setup", ["status", "--local"]) == "parallelize setup"


def test_what_comes_after_two_dashes_is_no_flag():
    assert repeat_flags("parallelize retry", ["run", "--", "--local"]) == "parallelize retry"


@given(st.text(), st.lists(st.text()))
def test_no_text_and_no_command_line_breaks_it(text, words):
    assert isinstance(repeat_flags(text, words), str)


def test_each_command_that_may_be_proposed_takes_these_flags():
    commands = PROPOSED.pattern.partition("(?:")[2].partition(")")[0].replace("\n", "").split("|")
    app = make_app()
    for name in set(commands) & {command for command in app if not command.startswith("-")}:
        _, bound, _ = app.parse_args([name, *required(name), "--local", "--run", "x"],
                                     exit_on_error=False, print_error=False)  # fmt: skip
        assert bound.arguments["common"].local, name


def required(command):
    return {"logs": ["FILE"], "scale": ["1"], "download": ["DIR"]}.get(command, [])
