"""Containers on the local cloud, from a registry on loopback: what a person types, and finds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.console_blocks import named, runs
from tests.e2e.conftest import REPOSITORY, Shell, only_local
from tests.functional.container.images import (
    Made,
    Registry,
    needs_registry,
    programs,
    serve_registry,
    shell_image,
)

pytestmark = [pytest.mark.timeout(400), only_local, needs_registry]

JOB = """#!/bin/sh -e
name=$(cat "$1")
echo "$name on $COLOUR" >said.txt
ls / >&2
echo said.txt
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with serve_registry(tmp_path / "registry") as made:
        yield made


@pytest.fixture
def image(tmp_path: Path) -> Made:
    return shell_image(tmp_path / "image", env=["COLOUR=blue"])


@pytest.fixture
def project(shell: Shell) -> Iterator[Shell]:
    """A project with eight inputs, and a job that needs a shell and no more."""
    for name in ("env", "inputs"):
        (shell.folder / name).mkdir()
    job = shell.folder / "env" / "job.sh"
    job.write_text(JOB)
    job.chmod(0o755)
    for number in range(8):
        (shell.folder / "inputs" / f"{number}").mkdir()
        (shell.folder / "inputs" / f"{number}/a.txt").write_text(f"file {number}")
    yield shell
    shell.run("local", "stop")


def configure(shell: Shell, image: str, **more: str) -> None:
    settings = {"command": "./job.sh", "env": "env/", "image": image, **more}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
    (shell.folder / "parallelize.toml").write_text("[run]\n" + "".join(lines))


def blobs_fetched(registry: Registry) -> list[str]:
    return [line.split()[6] for line in registry.lines('"GET /v2') if "/blobs/" in line]


def test_a_run_check_and_repro_from_a_registry(
    project: Shell, registry: Registry, image: Made
) -> None:
    registry.push(image, "lab/shell:1")
    configure(project, f"docker://{registry.host}/lab/shell:1")
    (checked,) = project.run("check", "inputs/3/a.txt").split()
    assert (project.folder / checked).read_text() == "file 3 on blue\n"
    project.run("run", "--local", "--workers", "1")
    for number in range(8):
        text = (project.folder / f"out/{number}/said.txt").read_text()
        assert text == f"file {number} on blue\n"
    (result, *_) = project.json("logs", "3/a.txt", "--local")
    assert result["image"] == image.digest
    # A tag that means something else by now changes nothing of what was done with the first.
    registry.push(shell_image(image.folder.with_name("red"), env=["COLOUR=red"]), "lab/shell:1")
    (again,) = project.run("repro", "3/a.txt", "--local").split()
    assert (project.folder / again).read_text() == "file 3 on blue\n"
    # On one machine of many agents each part was fetched once.
    fetched = blobs_fetched(registry)
    own = [path for path in fetched if path.rpartition("/")[2] in str(list(_parts(image)))]
    assert sorted(own) == sorted(set(own))


@runs("a run in an image")
def test_the_image_of_the_page_is_checked_and_run(
    project: Shell, registry: Registry, image: Made
) -> None:
    registry.push(image, "our-lab/measure:1.4")
    configure(project, f"docker://{registry.host}/our-lab/measure:1.4")
    (project.folder / "inputs/a.tif").write_text("a picture")
    block = named("a run in an image")
    shown = project.type(*block.typed(), PARALLELIZE_LOCAL="true").stderr
    [line] = (line.partition("sha256:")[0] for line in block.printed())
    assert line.replace("ghcr.io", registry.host) + image.digest[:11] in " ".join(shown.split())
    assert (project.folder / "out/said.txt").read_text() == "a picture on blue\n"


def _parts(image: Made) -> Iterator[str]:
    for one in (image.manifest["config"], *image.manifest["layers"]):
        yield one["digest"]


def test_an_image_that_does_not_exist_is_said_at_once_or_by_the_worker(
    project: Shell, registry: Registry
) -> None:
    configure(project, f"docker://{registry.host}/lab/none:1")
    process = project.start("run", "--local", "--workers", "1")
    said = " ".join(process.communicate()[1].split())
    assert process.returncode == 2
    assert "manifest unknown" in said
    configure(project, f"docker://{registry.host}/lab/none@sha256:{'0' * 64}")
    process = project.start("run", "--local", "--workers", "1")
    said = process.communicate()[1].replace("\n", "").replace(" ", "")
    assert process.returncode == 1
    assert "manifestunknown" in said
    assert "0failed" in said


def test_without_skopeo_prep_says_what_to_install(project: Shell, registry: Registry) -> None:
    configure(project, f"docker://{registry.host}/lab/shell:1")
    folder = project.folder / "path"
    folder.mkdir()
    project.run("local", "start")
    poor = replace(project, environ={**project.environ, "PATH": str(folder)})
    process = poor.start("prep", "--local")
    said = " ".join(process.communicate()[1].split())
    assert process.returncode == 2
    assert "skopeo is not installed here" in said
    assert "apt-get install skopeo" in said


RECIPE = re.compile(r"```sh\n(# tree/ is .*?)```", re.DOTALL)


def test_the_recipe_without_docker_makes_an_image_that_runs(project: Shell) -> None:
    """The lines of docs/containers.md, word for word, with a tree of this machine's programs."""
    for info, content in programs("sh", "cat", "ls"):
        path = project.folder / "tree" / info.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
    found = RECIPE.search((REPOSITORY / "docs/containers.md").read_text())
    assert found
    recipe = found[1] + "umoci config --image image:measure --config.env COLOUR=green\n"
    subprocess.run(["sh", "-euc", recipe], cwd=project.folder, check=True)
    configure(project, "oci:image:measure")
    (checked,) = project.run("check", "inputs/3/a.txt").split()
    assert (project.folder / checked).read_text() == "file 3 on green\n"


def python_tree(folder: Path) -> None:
    """Make a tree with this machine's Python and its library, and the worker of the example."""
    for info, content in programs("/usr/bin/python3"):
        path = folder / info.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
    library = Path(subprocess.run(
        ["/usr/bin/python3", "-Sc", "import os; print(os.path.dirname(os.__file__))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip())  # fmt: skip
    left_out = shutil.ignore_patterns("__pycache__", "test*", "idlelib", "config-*", "*-packages")
    shutil.copytree(library, folder / str(library).lstrip("/"), ignore=left_out)
    (folder / "app").mkdir()
    shutil.copy(REPOSITORY / "examples/research/worker.py", folder / "app/worker.py")


def test_parameters_from_python_come_back_as_json_in_their_order_and_nothing_stays(
    shell: Shell, registry: Registry, tmp_path: Path
) -> None:
    """The example of research jobs, from its image to its last line."""
    python_tree(tmp_path / "tree")
    recipe = (
        "umoci init --layout i; umoci new --image i:w; umoci insert --rootless --image i:w tree /;"
        "skopeo --insecure-policy copy --quiet --dest-tls-verify=false oci:i:w"
        f" docker://{registry.host}/w:1"
    )
    subprocess.run(["sh", "-euc", recipe], cwd=tmp_path, check=True)
    example = REPOSITORY / "examples/research/start_job.py"
    before = {*shell.folder.iterdir()}
    process = subprocess.run(
        [sys.executable, example, f"docker://{registry.host}/w:1", "--local"],
        cwd=shell.folder, env=shell.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    expected = [{"x+y": x + y, "x*y": x * y} for x in (1, 2, 3) for y in (2, 3, 4)]
    assert json.loads(process.stdout) == expected
    assert "9/9 done" in process.stderr
    assert "research" not in {run["run"] for run in shell.json("runs", "--local")["runs"]}
    left = {path.name for path in {*shell.folder.iterdir()} - before}
    assert left <= {".parallelize-project.json"}
    shell.run("local", "stop")
