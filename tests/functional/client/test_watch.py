"""`status --watch --json`: what a program reads while a run goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.functional.client.conftest import Project

PROGRAM = Path(sys.executable).with_name("parallelize")


def test_each_look_of_a_watch_is_a_line_of_json(project: Project) -> None:
    project.add("a.tif", "b.tif")
    assert project.call("prep") == 0
    words = [PROGRAM, "status", "--watch", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        for name in ("a.tif", "b.tif"):
            project.finish(name, f"{name}.out")
        *_, last = map(json.loads, watching.stdout)
    assert (first["schema"], first["done"], last["done"]) == (1, 0, 2)
    assert watching.returncode == 0
