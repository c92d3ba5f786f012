"""What `--help` prints for each command, what it costs, and what a shell completes."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cyclopts import App

from parallelize import cli
from parallelize.console import WIDTH
from parallelize.examples import EXAMPLES

SLOW = ("boto3", "botocore", "jinja2", "moto", "pydantic", "asyncio", "humanize", "psutil", "flask")
GROUPS = {"local", "image", "config", "help"}
PROGRAM = "parallelize"
OF_A_SHELL = ("eval ", "source ")


def all_commands() -> Iterator[tuple[str, App]]:
    """Yield every command that can be typed, those of groups included."""
    app = cli.make_app()
    for command in cli.COMMANDS:
        own = app[command.name]
        yield command.name, own
        yield from ((f"{command.name} {n}", own[n]) for n in own if not n.startswith("-"))


COMMANDS = dict(all_commands())
WORK = {name: app for name, app in COMMANDS.items() if name not in {*GROUPS, "completion"}}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, app in WORK.items():
        if name != "help exit-codes":
            assert app.default_command is not None
            yield name, app.default_command


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_imports_nothing_that_only_its_work_needs(command: str) -> None:
    code = (
        f"import sys; from parallelize import cli; assert cli.run({[*command.split(), '--help']})"
        f" == 0; print(sorted(set({SLOW}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_ends_with_two_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*command.split(), "--help"]) == 0
    *_, head, first, second = capsys.readouterr().out.rstrip().splitlines()
    assert head == "Examples:"
    assert (first.strip(), second.strip()) == EXAMPLES[command]


@pytest.mark.parametrize("command", WORK)
def test_no_line_of_a_command_s_explanation_is_broken_a_second_time(command: str) -> None:
    function = WORK[command].default_command
    assert function is not None
    _, *paragraphs = (inspect.getdoc(function) or "").partition("Args:")[0].split("\n\n")
    assert [line for text in paragraphs for line in text.splitlines() if len(line) >= WIDTH] == []


def test_there_are_examples_of_commands_only() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


def typed(line: str) -> list[list[str]]:
    """Return the words of each call of parallelize in a line of a shell."""
    found = re.findall(r"parallelize [^()|&>]+", line)
    return [shlex.split(call)[1:] for call in found]


@pytest.mark.parametrize("line", sorted({one for pair in EXAMPLES.values() for one in pair}))
def test_an_example_is_a_command_line_that_is_understood(line: str) -> None:
    calls = typed(line)
    assert calls
    for words in calls:
        if words[0] != "help":
            cli.make_app().parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize(("command", "function"), list(functions()))
def test_every_parameter_is_explained(command: str, function: Callable[..., Any]) -> None:
    arguments = COMMANDS[command].assemble_argument_collection(parse_docstring=True)
    assert [one.name for one in arguments if one.show and not one.parameter.help] == []


@pytest.mark.parametrize(("command", "function"), list(functions()))
def test_a_value_that_is_used_unless_given_is_shown(
    command: str, function: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run([*command.split(), "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for parameter in inspect.signature(function).parameters.values():
        if isinstance(parameter.default, (int, float, str)) and parameter.default is not False:
            assert f"[default: {parameter.default}]" in text


def test_the_page_is_as_wide_as_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    cli.run(["status", "--help"])
    lines = capsys.readouterr().out.partition("Examples:")[0].splitlines()
    assert max(map(len, lines)) == 60


def test_a_group_without_a_command_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["local"]) == 0
    assert capsys.readouterr().out.startswith("Usage: parallelize local")
