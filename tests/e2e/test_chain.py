"""A chain: a merge over all results, put on the queue by a worker, and a run over another's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.e2e.conftest import REPOSITORY, Shell

pytestmark = pytest.mark.timeout(400)  # on a busy machine; alone it takes a fraction of this


def example(shell: Shell, name: str = "words") -> Path:
    """Copy the example, with a name for its run: all tests have one cloud."""
    shutil.copytree(REPOSITORY / "examples" / "chain", shell.folder, dirs_exist_ok=True)
    for settings in shell.folder.glob("*.toml"):
        text = settings.read_text()
        settings.write_text(text.replace("words", name).replace("charts", f"{name}-charts"))
    return shell.folder / "out"


def total(out: Path) -> dict[str, int]:
    counts: dict[str, int] = json.loads((out / "total.json").read_text())
    return counts


def test_map_then_reduce_and_then_a_run_over_its_outputs(shell: Shell) -> None:
    out = example(shell)
    shell.run("run", "--local")
    assert total(out) == {"the": 5, "sea": 1, "sun": 1, "sand": 1, "snow": 1, "peak": 1}
    status = shell.status()
    assert (status["state"], status["total"], status["then"]) == ("drained", 3, "done")
    assert [file["key"] for file in shell.json("report", "--local")["files"]][-1] == "run.then"
    [attempt] = shell.json("logs", "run.then", "--local")
    assert attempt["attempt"] == 1
    before = (out / "total.json").stat().st_mtime_ns
    shell.run("run", "--local")  # and nothing is done again
    assert (out / "total.json").stat().st_mtime_ns == before

    shell.run("run", "--local", "--config", "chart.toml", "--out", "charts")
    charts = {path.name: path.read_text() for path in (shell.folder / "charts").iterdir()}
    assert charts["beach.txt"].splitlines()[0] == "the     ###"
    assert charts["total.txt"].splitlines()[0] == "the     #####"


def test_a_merge_waits_for_what_failed_and_is_made_again_after_a_retry(shell: Shell) -> None:
    out = example(shell, "failing")
    count = shell.folder / "env" / "count.py"
    whole = count.read_text()
    count.write_text(whole.replace("text = Path", 'assert "beach" not in sys.argv[1]\ntext = Path'))
    shell.run("run", "--local", code=1)
    assert not (out / "total.json").exists()
    status = shell.status()
    assert (status["state"], status["waiting"], status["then"]) == ("failed", 0, "waits")

    count.write_text(whole)
    shell.run("retry", "--local")
    shell.run("run", "--local", "--changed", "keep")
    assert total(out)["the"] == 5

    count.write_text(whole.replace(".lower()", ".upper().lower().replace('sea', 'ocean')"))
    shell.run("retry", "--again", "beach.txt", "--local")
    shell.run("run", "--local", "--changed", "keep")
    assert "ocean" in total(out)


def test_a_merge_that_fails_is_told_and_retried_as_any_file(shell: Shell) -> None:
    out = example(shell, "merging")
    merge = shell.folder / "env" / "merge.py"
    whole = merge.read_text()
    merge.write_text(whole.replace("total: ", "raise SystemExit('no disk')\ntotal: "))
    shell.run("run", "--local", code=1)
    [failure] = shell.json("failures", "--local")
    assert (failure["key"], failure["stderr_tail"]) == ("run.then", "no disk\n")
    assert shell.status()["state"] == "failed"
    merge.write_text(whole)
    shell.run("retry", "--local")
    shell.run("run", "--local", "--changed", "keep")
    assert total(out)["the"] == 5


def test_a_run_that_is_unfinished_gives_what_it_has_and_says_what_is_missing(shell: Shell) -> None:
    example(shell, "early")
    shell.run("local", "start")
    shell.run("prep", "--local", "--create-bucket")
    process = shell.start("prep", "--local", "--config", "chart.toml")
    _, told = process.communicate()
    assert process.returncode == 2
    assert "run early has no outputs that could be inputs" in told
    assert "2 jobs of 2 have no result yet" in told
