"""The guards of the protocol and of safety: their mutations and the tests that die with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.mutations.__main__ import main, read_options
from tests.mutations.guards import MUTATIONS, SAFETY, SURVIVED_TOGETHER
from tests.mutations.mutation import ROOT, MovedError, Mutation

ALL = (*MUTATIONS, *SAFETY)
HEAD = "| guard | where | test that dies with it |"


def test_the_table_of_guards_is_that_of_the_mutations() -> None:
    lines = (ROOT / "docs/protocol.md").read_text().splitlines()
    rows = lines[lines.index(HEAD) + 2 :]
    assert rows == [mutation.row for mutation in MUTATIONS]


def test_each_guard_has_a_name_and_a_sentence_of_its_own() -> None:
    assert len({mutation.name for mutation in ALL}) == len(ALL)
    assert len({mutation.guard for mutation in ALL}) == len(ALL)
    assert set(SURVIVED_TOGETHER) <= {mutation.name for mutation in MUTATIONS}


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_a_guard_is_where_its_mutation_looks_for_it(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text()
    assert mutation.applied(text) != text


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_the_tests_that_die_with_a_guard_exist(mutation: Mutation) -> None:
    for test in mutation.tests:
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text()


@pytest.mark.parametrize("text", ["", "if held: return\nif held: return"])
def test_a_mutation_whose_code_has_moved_says_so(tmp_path: Path, text: str) -> None:
    mutation = Mutation("x", "a guard", "agent/x.py", "if held:", "if True:", ())
    with pytest.raises(MovedError, match="the code has moved"):
        mutation.applied(text)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], MUTATIONS),
        (["--safety"], SAFETY),
        (["--rows"], MUTATIONS),
        ([SAFETY[1].name, MUTATIONS[2].name], [SAFETY[1], MUTATIONS[2]]),
        (["--safety", SAFETY[1].name], [SAFETY[1]]),
        ([SAFETY[1].name, "--safety"], [SAFETY[1]]),
    ],
    ids=["all", "safety", "rows", "names of both", "a name of safety", "the name first"],
)
def test_the_guards_that_are_asked_for_are_tried(
    words: Sequence[str], asked: Sequence[Mutation]
) -> None:
    assert [*read_options(words).mutations] == [*asked]


def test_the_rows_of_guards_that_are_named_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", MUTATIONS[2].name]) == 0
    assert capsys.readouterr().out == f"{MUTATIONS[2].row}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--safety", MUTATIONS[0].name], f"{MUTATIONS[0].name} is not of docs/safety.md"),
        (["--rows", SAFETY[0].name], f"{SAFETY[0].name} is not of docs/protocol.md"),
        (["own-upp"], "there is no mutation own-upp"),
        (["--rows", "--safety"], "not allowed with"),
    ],
)
def test_what_no_page_has_is_refused(
    capsys: pytest.CaptureFixture[str], words: Sequence[str], told: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        read_options(words)
    assert (caught.value.code, told in capsys.readouterr().err) == (2, True)
