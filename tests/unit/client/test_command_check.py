import io
import zipfile

import pytest

from parallelize.runs.environment.command_check import (
    Packed,
    architectures,
    check_command,
    split_command,
)
from parallelize_core.errors import UsageError

X86 = {"x86-64"}


def elf(machine: int) -> bytes:
    return (
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little") + bytes(40)
    )


def check(
    content: bytes,
    mode: int = 0o100755,
    command: str = "./job.sh",
    name: str = "job.sh",
    prefix: str = "",
    own: bool = False,
) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    with zipfile.ZipFile(made) as archive:
        check_command(split_command(command), Packed(archive, "env/", prefix, own), X86)


def refusal(content: bytes, mode: int = 0o100755, command: str = "./job.sh") -> UsageError:
    with pytest.raises(UsageError) as caught:
        check(content, mode, command)
    return caught.value


@pytest.mark.parametrize(
    "content", [b"#!/bin/sh\n", b"#! /usr/bin/env python3\n", b"#!/bin/sh", elf(62), elf(9999)]
)
def test_a_script_or_a_program_for_the_workers_is_taken(content: bytes) -> None:
    check(content)


def test_a_file_without_x_is_named_with_what_to_do() -> None:
    error = refusal(b"#!/bin/sh\n", 0o100644)
    assert error.what == "env/job.sh is not executable"
    assert error.fix == "chmod +x env/job.sh"


def test_a_zip_of_the_users_own_need_not_know_modes() -> None:
    check(b"#!/bin/sh\n", mode=0o100644, own=True)


def test_a_missing_file_is_named() -> None:
    error = refusal(b"", command="./jbo.sh")
    assert error.what == "env/jbo.sh does not exist"
    assert error.exit_code == 2


def test_windows_line_ends_are_named_with_what_to_do() -> None:
    error = refusal(b"#!/bin/sh\r\necho\r\n")
    assert error.what == "env/job.sh has Windows line endings (CRLF)"
    assert error.fix == r"sed -i 's/\r$//' env/job.sh"


@pytest.mark.parametrize("content", [b"", b"echo hello\n", b"\n#!/bin/sh\n"])
def test_a_script_without_a_first_line_is_named(content: bytes) -> None:
    assert refusal(content).what == "env/job.sh has no #! line"


@pytest.mark.parametrize("content", [b"#!\n", b"#!   \n", b"#!/usr/bin/env\n"])
def test_a_first_line_that_names_no_program_is_named(content: bytes) -> None:
    assert refusal(content).what == "the #! line of env/job.sh names no program"


@pytest.mark.parametrize(
    ("content", "said"),
    [(elf(183), "is made for aarch64"), (b"MZ\x90", "Windows"), (b"\xcf\xfa\xed\xfe", "macOS")],
)
def test_a_program_for_other_machines_is_named(content: bytes, said: str) -> None:
    assert said in refusal(content).what


def test_a_word_or_an_absolute_path_may_be_the_workers_own_program() -> None:
    for command in ("python3 job.py", "/usr/bin/wc -l"):
        check(b"", command=command)


def test_a_bare_word_in_the_environment_is_the_environments_program() -> None:
    assert refusal(b"#!/bin/sh\n", 0o100644, "job.sh").what == "env/job.sh is not executable"


def test_the_prefix_is_where_the_command_is_looked_for() -> None:
    check(b"#!/bin/sh\n", name="environment/job.sh", prefix="environment")


@pytest.mark.parametrize("text", [None, "", "  ", "./job 'half"])
def test_a_command_that_is_none_is_refused(text: str | None) -> None:
    with pytest.raises(UsageError):
        split_command(text)


def test_the_types_tell_the_processors() -> None:
    assert architectures(["c7g.xlarge", "c6gn.large", "a1.large", "t4g.nano"]) == {"aarch64"}
    assert architectures(["c7i.xlarge", "m6a.large", "g5.xlarge", "p4d.24xlarge"]) == X86


@pytest.mark.parametrize(
    "interpreter", [b"/home/ana/miniconda3/bin/python", b"/Users/ben/.pyenv/shims/python3"]
)
def test_an_interpreter_in_a_home_folder_is_refused_before_a_worker_looks_for_it(
    interpreter: bytes,
) -> None:
    error = refusal(b"#!" + interpreter + b" -u\nprint()\n")
    assert interpreter.decode() in error.what
    assert "env python3" in (error.fix or "")


def test_so_is_a_command_in_a_home_folder() -> None:
    assert "/home/ana/bin/tool" in refusal(b"", command="/home/ana/bin/tool --fast").what
