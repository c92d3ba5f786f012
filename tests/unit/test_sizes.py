"""How long modules and functions may be, so that each can be read at a sitting."""

from __future__ import annotations

from tests.bench.tree import modules, share

MAX_MODULE_LINES = 400
MAX_MEDIAN, MAX_P90 = 7, 18

FOUND = modules()
LENGTHS = [length for module in FOUND for length in module.functions.values()]


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    assert [str(one.path) for one in FOUND if one.lines > MAX_MODULE_LINES] == []


def test_half_of_all_functions_have_seven_lines_or_fewer_and_nine_of_ten_eighteen() -> None:
    assert share(LENGTHS, 0.5) <= MAX_MEDIAN
    assert share(LENGTHS, 0.9) <= MAX_P90


def test_a_command_is_its_parameters_one_call_and_what_is_printed() -> None:
    commands = [one for one in FOUND if one.folder == "parallelize/commands"]
    long = [
        f"{one.path} {name}"
        for one in commands
        for name, length in one.functions.items()
        if length > 70
    ]
    assert long == []
