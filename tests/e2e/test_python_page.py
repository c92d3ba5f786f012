"""The snippets of docs/python.md are run, one after the other, as a reader would."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import PROGRAM, REPOSITORY, only_local

pytestmark = [only_local, pytest.mark.timeout(1200)]

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def own_cloud(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A local cloud of the page's own: the runs of other tests may be called as its are."""
    state = str(tmp_path / "state")
    for name, value in {**environ, "XDG_STATE_HOME": state}.items():
        monkeypatch.setenv(name, value)
    yield
    subprocess.run([PROGRAM, "local", "stop"], check=True)


@pytest.mark.usefixtures("own_cloud")
def test_every_snippet_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCK.findall((REPOSITORY / "docs/python.md").read_text()):
        if block.startswith("#!"):
            write_script(block)
        else:
            exec(compile(block, "docs/python.md", "exec"), names)

    means = names["means"]
    assert len({round(mean, 9) for mean in means}) == 10
    assert names["collected"] != []
    assert sorted(names["collected"]) == sorted(names["done"]) == sorted(means)
    assert {"seed": "3", "steps": "100"} in names["tried"]
    assert len(names["tried"]) == 6
    assert names["copied"] == "3\n-4\n"
    assert names["zipped"] == ["oslo.csv"]
    assert [record["mean"] for record in names["records"]] == means
    assert [record["seed"] for record in names["records"]] == list(range(10))
    assert list(names["frame"]["mean"]) == means
    assert names["table"].column("mean").to_pylist() == means


def write_script(block: str) -> None:
    place = Path(block.splitlines()[1].removeprefix("# "))
    place.parent.mkdir(exist_ok=True)
    place.write_text(block)
    place.chmod(0o755)
