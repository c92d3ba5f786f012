"""What only a shell understands is told before anything is sent, or read by a shell."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.context import Context
from parallelize.runs.environment.command_check import split_command
from parallelize.runs.environment.placeholders import program_of, shell_command, shell_word
from parallelize.runs.record.run_record import drafted
from parallelize.settings import resolve
from parallelize_core.errors import UsageError


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("./job.sh | gzip", "|"),
        ("./job.sh|gzip", "|"),
        ("./a.sh || ./b.sh", "||"),
        ("./job.sh > all.txt", ">"),
        ("./job.sh 2>&1", "2>&1"),
        ("./job.sh >> log", ">>"),
        ("./job.sh < in.txt", "<"),
        ("./job.sh <<EOF", "<<"),
        ("./a.sh && ./b.sh", "&&"),
        ("./a.sh; ./b.sh", ";"),
        ("./a.sh\n./b.sh", "\n"),
        ("./job.sh &", "&"),
        ("./job.sh $(date)", "$("),
        ('./job.sh "$(date)"', "$("),
        ("./job.sh `date`", "`"),
        ("./job.sh $HOME/model", "$H"),
        ('./job.sh "${MODEL}"', "${"),
        ('./job.sh "$1"', "$1"),
        ("./job.sh ~/model", "~"),
        ("./job.sh *.csv", "*"),
        ("(./job.sh)", "("),
        ("THREADS=4 ./job.sh", "THREADS="),
        ("cd sub", "cd"),
        ("source venv/bin/activate", "source"),
        ("./job.sh --fast  # the slow way takes hours", "#"),
        ("./job.sh --out a.{png,pdf}", "{png,pdf}"),
        ("./job.sh --fold {1..5}", "{1..5}"),
        ("exec ./job.sh", "exec"),
        ("[[ -s in.csv ]]", "[["),
        ("! ./job.sh", "!"),
        ("until ./job.sh", "until"),
    ],
)
def test_a_word_for_a_shell_is_named(command: str, word: str) -> None:
    assert shell_word(command) == word
    with pytest.raises(UsageError) as caught:
        split_command(command)
    assert caught.value.fix


@pytest.mark.parametrize(
    "command",
    [
        "./job.sh --fast",
        "./job.sh 'a | b' '$HOME' '{}' '*'",
        r"./job.sh a\|b \$HOME \*",
        './job.sh "a | b > c" "it\'s"',
        "sh -c 'cat \"$1\" | sort > sorted && echo sorted' sh",
        "python3 -m tool --rate=0.5 --range 1-5 --tag a,b @file +x user~1 a#b",
        "./job.sh --env A=b --set x=y",
        "./job.sh --json '{\"a\": {}}'",
        "./job.sh --out 'a.{png,pdf}' --fold \"{1..5}\"",
        "./job.sh {name} {1/.} {//} x{}y",
        "time ./job.sh",
    ],
)
def test_a_command_that_means_what_it_says_is_taken(command: str) -> None:
    assert split_command(command) == tuple(shlex.split(command))


@given(st.lists(st.text(min_size=1), min_size=1).map(lambda words: ["./job.sh", *words]))
def test_whatever_is_quoted_is_taken_as_it_stands(words: list[str]) -> None:
    assert split_command(shlex.join(words)) == tuple(words)


def test_the_refusal_says_what_to_write_instead() -> None:
    with pytest.raises(UsageError) as caught:
        split_command("./job.sh | sort")
    assert 'the command has "|", which only a shell understands' in caught.value.what
    for way in ('the input is "$1"', "run.shell = true", "'|'"):
        assert way in (caught.value.fix or "")


def run_in_shell(text: str, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell_command(text), str(file)], check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", ["a.txt", "with space", "$(touch x)", "-n"])
def test_a_shell_gets_the_input_as_its_first_argument(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("b\na\n")
    assert run_in_shell('sort < "$1" | head -1', tmp_path / name).stdout == "a\n"


@pytest.mark.parametrize("text", ['cat "$1.gone" | sort', 'false; cat "$1"', 'cat "$1" && exit 3'])
def test_a_shell_ends_at_the_first_error_also_within_a_pipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text("x")
    assert run_in_shell(text, tmp_path / "a").returncode != 0


@pytest.mark.parametrize("text", ["./job.sh | sort", "cat $11", "echo '1'"])
def test_a_shell_command_that_never_names_its_input_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="does not say where the input belongs"):
        shell_command(text)


def context(folder: Path, command: str) -> Context:
    (folder / "env").mkdir(exist_ok=True)
    flags = {"run.command": command, "run.shell": True, "run.env": "env/", "aws.bucket": "b"}
    return Context(resolve(flags, {}, folder), "r")


def test_a_run_with_a_shell_is_recorded_with_it_and_its_script_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    script = tmp_path / "env" / "job.sh"
    script.write_text("#!/bin/sh\n")
    command = './job.sh "$1" > out.txt && echo out.txt'
    with pytest.raises(UsageError, match="not executable"), drafted(context(tmp_path, command)):
        pass
    script.chmod(0o755)
    with drafted(context(tmp_path, command)) as draft:
        assert draft.run.command == ("bash", "-e", "-o", "pipefail", "-c", command, "bash")
    assert program_of('sort "$1"') is None
