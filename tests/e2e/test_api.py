"""`parallelize.map`, with real agents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.e2e.conftest import only_local

import parallelize
from parallelize_core.errors import UsageError

# On a busy machine; alone it takes a fraction of this.
pytestmark = [only_local, pytest.mark.timeout(400)]

SCRIPT = """\
#!/usr/bin/env python3
import json, pathlib, sys
item = json.loads(pathlib.Path(sys.argv[1]).read_text())
answer = {"root": item["n"] ** 0.5}   # a complex number is not JSON
pathlib.Path("answer.json").write_text(json.dumps(answer))
print("answer.json")
"""


@pytest.fixture
def env(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the script; this process has the session's local cloud."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "env"
    folder.mkdir()
    (folder / "root.py").write_text(SCRIPT)
    (folder / "root.py").chmod(0o755)
    return folder


def test_outcomes_come_in_the_order_of_the_items_and_only_new_items_are_processed(
    env: Path,
) -> None:
    before = dict(os.environ)
    items = [{"n": 9}, {"n": 4}, {"n": 9}, {"n": -1}]
    outcomes = parallelize.map("./root.py", items, name="api", env=env, local=True)
    assert [outcome.item for outcome in outcomes] == items
    assert [outcome.value() for outcome in outcomes[:3]] == [{"root": root} for root in (3, 2, 3)]
    assert outcomes[0].files == outcomes[2].files
    assert outcomes[3].files == ()
    with pytest.raises(parallelize.JobError, match="not JSON serializable"):
        outcomes[3].value()
    more = [{"n": 1}, *items]
    again = parallelize.map("./root.py", more, name="api", env=env, local=True)
    assert again[0].value() == {"root": 1}
    assert [outcome.result for outcome in again[1:]] == [outcome.result for outcome in outcomes]
    assert dict(os.environ) == before


def test_what_has_failed_is_processed_again_when_that_is_asked_for(env: Path) -> None:
    def call(*, retry: bool) -> list[parallelize.Outcome]:
        items = [{"n": -16}, {"n": 25}]
        return parallelize.map(
            "./root.py", items, name="mended", env=env, local=True, retry=retry,
            settings={"run.attempts": 1, "run.changed": "keep"},
        )  # fmt: skip

    assert [outcome.error is None for outcome in call(retry=False)] == [False, True]
    (env / "root.py").write_text(SCRIPT.replace('item["n"]', 'abs(item["n"])'))
    assert [outcome.error is None for outcome in call(retry=False)] == [False, True]
    assert [outcome.value() for outcome in call(retry=True)] == [{"root": 4}, {"root": 5}]


def test_a_mistake_raises_what_the_command_line_would_say(env: Path) -> None:
    with pytest.raises(UsageError, match="item 1 cannot be written as JSON"):
        parallelize.map("./root.py", [1, {2}], name="bad", env=env, local=True)
    with pytest.raises(UsageError, match="no-such"):
        parallelize.map("./no-such", [1], name="bad", env=env, local=True)
    with pytest.raises(UsageError, match="cuont"):
        parallelize.map("./root.py", [1], name="bad", env=env, settings={"workers.cuont": 1})
    assert parallelize.map("./root.py", [], name="bad") == []
