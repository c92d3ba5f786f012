"""The guards of the protocol and of safety: their mutations and the tests that die with them."""

from __future__ import annotations

from pathlib import Path

import pytest
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
