"""One line is a whole run: what is typed after `--` is its command and its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelize.operations.run import understood
from parallelize.options import NO_WORK, NOTHING, Work
from parallelize.runs.environment.one_liner import OneLiner, parse, settings_of
from parallelize.runs.inputs.local_inputs import find_inputs
from parallelize_core.errors import UsageError
from parallelize_core.layout import check_run_name


def line(*words: str) -> OneLiner:
    parsed = parse(words)
    assert parsed
    return parsed


def test_words_before_the_colons_are_the_command_and_those_behind_the_files() -> None:
    parsed = line("convert", "{}", "-resize", "50%", "{/.}.png", ":::", "a b.jpg", "-c.jpg")
    assert parsed.command == "convert {} -resize 50% {/.}.png"
    assert parsed.inputs == ("a b.jpg", "-c.jpg")


def test_without_words_there_is_no_line() -> None:
    assert parse(()) is None


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("foo", "bar"), "does not take: foo bar"),
        (("wc", ":::"), "no files after :::"),
        ((":::", "a"), "no command before :::"),
        (("wc", "::::", "list"), ":::: is not understood"),
        (("wc", ":::", "a", ":::", "b"), "::: ::: is not understood"),
        (("wc", ":::+", "a"), r":::\+ is not understood"),
    ],
)
def test_what_is_no_such_line_is_told_with_what_one_looks_like(
    words: tuple[str, ...], what: str
) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        parse(words)
    assert ":::" in (caught.value.fix or "") or "--inputs" in (caught.value.fix or "")


def test_with_a_command_of_its_own_again_is_about_files() -> None:
    work = Work(inputs="inputs/", command="./job.sh")
    with understood(("a.txt", "b.txt"), work, NOTHING, again=True) as asked:
        assert (asked.again, asked.settings) == (("a.txt", "b.txt"), {})


@pytest.mark.parametrize("work", [Work(inputs="inputs/"), Work(grid=("a=1,2",))])
def test_so_it_is_with_a_command_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    (tmp_path / "parallelize.toml").write_text('[run]\ncommand = "./job.sh"\n')
    monkeypatch.chdir(tmp_path)
    with understood(("a.txt",), work, NOTHING, again=True) as asked:
        assert (asked.again, asked.settings) == (("a.txt",), {})
    with understood(("./another.sh",), work, NOTHING, again=False) as asked:
        assert (asked.again, asked.settings["run.command"]) == (None, "./another.sh")
    with understood(("wc", ":::", "a.txt"), NO_WORK, NOTHING, again=True) as asked:
        assert (asked.again, asked.settings["run.command"]) == ((), "wc")


def test_with_inputs_alone_again_is_about_all_and_the_words_are_the_command() -> None:
    with understood(("./job.sh", "{}"), Work(inputs="inputs/"), NOTHING, again=True) as asked:
        assert (asked.again, asked.settings["run.command"]) == ((), "./job.sh {}")


def test_a_command_is_given_once() -> None:
    work = Work(inputs="inputs/", command="./job.sh")
    with (
        pytest.raises(UsageError, match=r"does not take: b\.txt"),
        understood(("b.txt",), work, NOTHING, again=False),
    ):
        pass


def test_files_are_those_of_the_folder_in_which_the_line_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub" / "d").mkdir(parents=True)
    for name in ("sub/a b.txt", "sub/d/{} é.txt", "sub/-c.txt"):
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path / "sub")
    with settings_of(line("wc", ":::", "a b.txt", "d/{} é.txt", "./-c.txt")) as settings:
        found = find_inputs(str(settings["run.inputs"]), tmp_path, "")
    assert {item.key for item in found.inputs} == {
        "sub/a b.txt",
        "sub/d/{} é.txt",
        "sub/-c.txt",
    }


@pytest.mark.parametrize(
    ("words", "outputs"),
    [
        (["convert", "{}", "{/.}.png"], True),
        (["gzip", "-k", "{}"], False),
        (["wc", "-l"], False),
        (["./job.sh", "--in={}", "--out={/.}.csv"], True),
        (["./job.sh", "in={}"], False),
    ],
)
def test_a_command_that_names_no_output_delivers_whatever_it_leaves(
    words: list[str], outputs: bool
) -> None:
    with settings_of(line(*words, ":::", "a.txt")) as settings:
        assert ("output.collect" in settings, "run.require_output" in settings) == (
            not outputs,
            not outputs,
        )


def test_a_run_is_named_after_its_program_and_all_of_its_command(tmp_path: Path) -> None:
    names = [
        line(*words, ":::", "x").run_name(tmp_path)
        for words in (["convert", "{}", "a"], ["convert", "{}", "b"], ["./my_job.v2.sh"], ["/é"])
    ]
    assert len(set(names)) == len(names)
    assert [check_run_name(name) for name in names] == names
    assert names[0].startswith("convert-")
    assert names[2].startswith("my-job-v2-")


def test_other_files_are_of_the_same_run_and_a_changed_script_is_another(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("one")
    first = line("./job.sh", ":::", "a").run_name(tmp_path)
    assert line("./job.sh", ":::", "a", "b").run_name(tmp_path) == first
    script.write_text("two")
    assert line("./job.sh", ":::", "a").run_name(tmp_path) != first


def test_so_is_one_that_an_interpreter_is_given(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("one")
    first = line("python3", "job.py", "{}", ":::", "a").run_name(tmp_path)
    script.write_text("two")
    assert line("python3", "job.py", "{}", ":::", "a").run_name(tmp_path) != first
