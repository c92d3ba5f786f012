"""Why a set-up failed, in a line, from what it printed."""

from __future__ import annotations

import pytest

from parallelize_agent.job.preparation import REASON_CHARACTERS, reason

PIP = """Collecting nope
ERROR: Could not find a version that satisfies the requirement nope
ERROR: No matching distribution found for nope

[notice] A new release of pip is available: 26.2 -> 26.3
[notice] To update, run: pip install --upgrade pip
"""

OLD_UV = """  \u00d7 No solution found when resolving dependencies:
  \u2570\u2500\u25b6 Because there is no version of
      numpy==99 and you require it, they are unsatisfiable.
"""

UV = """Using CPython 3.13.5
error: Failed to fetch: `https://example.org/x.whl`
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""

OLD_UV_SAID = (
    "No solution found when resolving dependencies: Because there is no version of "
    "numpy==99 and you require it, they are unsatisfiable."
)
UV_SAID = (
    "error: Failed to fetch: `https://example.org/x.whl` cause: tcp connect error "
    "cause: Connection refused (os error 111)"
)

R = """Installing package
Error in library(sf) : there is no package called 'sf'
Execution halted
"""

PYTHON = """Traceback (most recent call last):
  File "setup.py", line 1, in <module>
ModuleNotFoundError: No module named 'numpy'
"""


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (PIP, "ERROR: No matching distribution found for nope"),
        (OLD_UV, OLD_UV_SAID),
        (UV, UV_SAID),
        (R, "Error in library(sf) : there is no package called 'sf'"),
        (PYTHON, "ModuleNotFoundError: No module named 'numpy'"),
        ("E: Unable to locate package samtool\n", "E: Unable to locate package samtool"),
        ("\x1b[1;31merror\x1b[0m: red\n", "error: red"),
        ("one\ntwo\n\n", "two"),
        ("", ""),
    ],
)  # fmt: skip
def test_it_is_the_line_that_calls_itself_an_error_or_the_last(printed: str, said: str) -> None:
    assert reason(printed.encode()) == said


def test_of_a_long_chain_the_first_and_the_last_cause_are_told() -> None:
    chain = "".join(f"  cause: {'x' * 90} {number}\n" for number in range(9))
    said = reason(f"error: it began\n{chain}".encode())
    assert said.startswith("error: it began ... cause: xxx")
    assert said.endswith(" 8")
    assert len(said) <= REASON_CHARACTERS + 10


def test_an_error_far_above_the_end_is_not_taken_for_the_reason() -> None:
    printed = "error: tried again\n" + "working\n" * 30 + "gave up\n"
    assert reason(printed.encode()) == "gave up"
