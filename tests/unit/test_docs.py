"""What the pages claim about the repository is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parallelize.commands.exit_codes import EXIT_CODES
from parallelize.runs.record.agent_config import agent_settings, drain_settings
from parallelize.runs.state.status import RunState
from parallelize.settings import KEYS, Settings, resolve
from parallelize_core.config import AgentConfig
from parallelize_core.result import Cause

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
SETTING = re.compile(r"^\| `(\w+\.\w+)` \| (`.+?`|-) \|", re.MULTILINE)
NONE = "-"
DEFAULTS = Settings()
EXAMPLES = ROOT / "examples"
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PROMISE = re.compile(r"\| (?!what \|)\S.+\|$")
ROW = re.compile(r"^\| (\d+) \| .+\|$", re.MULTILINE)


def test_every_known_failure_of_others_is_covered_by_tests_that_exist() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    rows = ROW.findall(page)
    assert rows == [str(number) for number in range(1, 34)]
    assert all(TEST.search(row[0]) for row in ROW.finditer(page))
    assert missing_tests(page) == []


def test_every_promise_of_safety_is_held_by_a_test_that_exists() -> None:
    page = (ROOT / "docs/safety.md").read_text()
    promises = [line for line in page.splitlines() if PROMISE.match(line)]
    assert promises
    assert [line for line in promises if not TEST.search(line)] == []
    assert missing_tests(page) == []


def missing_tests(page: str) -> list[str]:
    return [
        f"{file}::{test}"
        for file, test in TEST.findall(page)
        if not (path := ROOT / "tests" / file).is_file() or f"def {test}(" not in path.read_text()
    ]


def test_the_page_of_settings_has_each_with_its_true_default(tmp_path: Path) -> None:
    rows = SETTING.findall((ROOT / "docs/configuration.md").read_text())
    assert tuple(key for key, _ in rows) == KEYS
    toml = "\n".join(f"{key} = {default.strip('`')}" for key, default in rows if default != NONE)
    file = tmp_path / "parallelize.toml"
    file.write_text(toml)
    said = resolve({}, {}, tmp_path, file).settings
    assert said.model_copy(update={"agent": DEFAULTS.agent}) == DEFAULTS
    agent = agent_settings(said.agent)
    there = {"run": "r", "bucket": "b", "queue_url": "q", "dead_letter_queue_url": "d"}
    plain = AgentConfig.model_validate(there)
    assert {name: getattr(plain, name) for name in agent} == agent
    assert drain_settings(said.agent) == plain.drain


def first_cells(page: str, head: str) -> list[str]:
    """Return what the first column of the table with this head has, without its backquotes."""
    rows = page.partition(f"\n| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [word.strip("` ") for row in rows for word in row.split("|")[1].split(",")]


def test_the_page_for_programs_has_each_exit_code_cause_and_state() -> None:
    page = (ROOT / "docs/agents.md").read_text()
    assert first_cells(page, "code") == [str(code) for code in EXIT_CODES]
    assert sorted(first_cells(page, "cause")) == sorted(Cause)
    assert first_cells(page, "state") == list(RunState)
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning.partition(';')[0]}" in page


def test_every_page_is_listed_once_by_what_it_is_read_for() -> None:
    index = (ROOT / "docs/README.md").read_text()
    listed = re.findall(r"^\| \[([\w-]+\.md)\]\(\1\) \|", index, re.MULTILINE)
    there = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(there)
    groups = ["Tutorial", "How-to guides", "Reference", "Explanation"]
    assert re.findall("^## (.*)$", index, re.MULTILINE) == groups


def test_each_how_to_guide_is_one_click_away_from_the_readme() -> None:
    guides = (ROOT / "docs/README.md").read_text().partition("## How-to")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| \[([\w-]+\.md)\]", guides, re.MULTILINE)
    tasks = (ROOT / "README.md").read_text().partition("## Find your task")[2].partition("\n## ")[0]
    assert [page for page in listed if f"(docs/{page}" not in tasks] == []


@pytest.mark.parametrize(
    "page", [*sorted(PAGES), EXAMPLES / "README.md"], ids=lambda page: page.name
)
def test_each_table_of_a_page_begins_with_a_header(page: Path) -> None:
    tables = TABLE.findall(BLOCK.sub("", page.read_text()))
    broken = [table for table in tables if not re.match(r"\|.*\n\|[ :|-]+\|\n", table)]
    assert broken == []


def test_each_example_is_listed_and_is_run_by_a_test() -> None:
    page = (EXAMPLES / "README.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests/e2e").glob("test_*.py"))
    names = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    assert [name for name in names if f"| [{name}]({name}) |" not in page] == []
    used = r'(?:"examples" / "|examples/|example\(shell, "){}["/]'
    assert [name for name in names if not re.search(used.format(name), tests)] == []


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", line.lower()) for line in lines]
    return {line.replace(" ", "-") for line in plain}


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: page.name)
def test_each_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text())
    for target, anchor in links:
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        if anchor:
            assert anchor in headings(there), f"{target}#{anchor}"
