"""Proposed commands mean the same run and the same cloud as the command that proposes them."""

import inspect
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.cli import COMMANDS, make_app
from parallelize.hints import PROPOSED, flags_in, repeat_flags
from parallelize.options import Common, common_of


def proposed(fix, *words):
    return repeat_flags(fix, common_of(words).again())


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
        ("parallelize explain a.txt   says", "parallelize explain --local a.txt   says"),
        ("parallelize runs   lists them", "parallelize runs --local   lists them"),
        ("chmod +x env/job.sh", "chmod +x env/job.sh"),
    ],
)
def test_a_proposed_command_stays_in_the_local_cloud(fix, expected):
    assert proposed(fix, "launch", "2", "--local") == expected


def test_a_proposed_command_means_the_same_run():
    words = ["launch", "--run=scans", "--config", "my project/p.toml", "1"]
    assert shlex.split(proposed("parallelize enqueue", *words)) == [
        "parallelize", "enqueue", "--config", "my project/p.toml", "--run", "scans",
    ]  # fmt: skip


def test_a_run_that_is_named_already_is_not_replaced():
    fix = "parallelize kill --run forgotten"
    told = proposed(fix, "doctor", "--run", "scans", "--local")
    assert told == "parallelize kill --local --run forgotten"


def test_a_command_for_the_local_cloud_gets_no_region_and_no_profile():
    words = ["status", "--region", "eu-west-1", "--profile", "lab", "--run", "scans"]
    told = proposed("parallelize run --local", *words)
    assert told == "parallelize run --run scans --local"


def test_setup_is_proposed_for_the_same_stack_and_place_and_for_no_run():
    words = ["doctor", "--stack", "lab", "--region", "eu-west-1", "--run", "scans"]
    told = proposed("parallelize setup   makes it", *words)
    assert told == "parallelize setup --stack lab --region eu-west-1   makes it"
    assert proposed("parallelize setup", "status", "--local") == "parallelize setup"
    assert proposed("parallelize image list", *words).endswith("--stack lab --region eu-west-1")


def test_what_comes_after_two_dashes_is_no_flag():
    assert proposed("parallelize retry", "run", "--", "--local") == "parallelize retry"


def test_a_command_line_that_cannot_be_read_gives_the_flags_that_can():
    assert common_of(["logs", "-odd/name.txt", "--nope", "--local"]) == Common(local=True)
    assert common_of(["logs", "--run"]) == Common()


@given(st.text(), st.lists(st.text()))
def test_no_text_and_no_command_line_breaks_it(text, words):
    assert isinstance(proposed(text, *words), str)


@given(st.builds(Common, run=st.text(min_size=1), profile=st.text(min_size=1), local=st.booleans()))
def test_flags_are_read_back_as_they_were_given(common):
    read = flags_in(common.again())
    assert read.pop("--local", None) == ("" if common.local else None)
    assert read == {"--run": common.run, "--profile": common.profile}


def test_the_commands_that_may_be_proposed_are_those_that_take_these_flags():
    named = PROPOSED.pattern.partition("parallelize (")[2].partition(")")[0].split("|")
    assert set(named) == {name for name in all_commands() if takes_common(name)}


def all_commands():
    app = make_app()
    for command in COMMANDS:
        if command.target.endswith(":app"):
            yield from (f"{command.name} {name}" for name in app[command.name] if name[0] != "-")
        elif command.target:
            yield command.name


def takes_common(name):
    _, apps, _ = make_app().parse_commands(name.split())
    return "common" in inspect.signature(apps[-1].default_command).parameters
