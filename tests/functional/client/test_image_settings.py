"""What `run.image` says, and what `prep` makes of it before any worker is asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.functional.client.conftest import Project
from tests.functional.container.images import (
    PROCESSOR,
    Made,
    Registry,
    entry,
    layer,
    make_image,
    needs_registry,
    serve_registry,
)

Captured = pytest.CaptureFixture[str]

DIGEST = f"sha256:{'a' * 64}"
PINNED = f"docker://ghcr.io/lab/tool@{DIGEST}"


@pytest.fixture(autouse=True)
def _input(project: Project) -> None:
    project.add("a.txt")


def record(project: Project) -> Any:
    return json.loads(project.store.get(project.layout.run_json))


@pytest.fixture
def image(tmp_path: Path) -> Made:
    return make_image(tmp_path / "image", [layer(entry("a", b"x"))])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


def configure(project: Project, **settings: Any) -> None:
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
    (project.folder / "parallelize.toml").write_text("[run]\n" + "".join(lines))


def test_a_digest_is_taken_as_it_is_and_nobody_is_asked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert project.call("prep", "--image", PINNED, "--command", "tool --fast") == 0
    run = record(project)
    assert run["image"]["digest"] == DIGEST
    assert run["image"]["repository"] == "ghcr.io/lab/tool"
    assert run["image"]["network"] is False
    assert run["v"] == 4  # no agent that knows no images takes it


@needs_registry
def test_a_tag_is_resolved_when_a_run_is_prepared_and_not_before_the_next_time(
    project: Project, registry: Registry, image: Made, tmp_path: Path, capsys: Captured
) -> None:
    first = registry.push(image, "tool:1")
    name = f"docker://{registry.host}/tool:1"
    assert project.call("prep", "--image", name, "--command", "tool") == 0
    assert first in capsys.readouterr().err
    assert record(project)["image"]["digest"] == first
    second = registry.push(make_image(tmp_path / "other", [layer(entry("b"))]), "tool:1")
    assert record(project)["image"]["digest"] == first
    assert project.call("prep", "--image", name, "--command", "tool") == 0
    assert record(project)["image"]["digest"] == second


@needs_registry
def test_a_tag_that_is_not_there_is_refused_in_the_registrys_words(
    project: Project, registry: Registry, capsys: Captured
) -> None:
    name = f"docker://{registry.host}/nothing:1"
    assert project.call("prep", "--image", name, "--command", "tool") == 2
    assert "manifest unknown" in capsys.readouterr().err


def test_a_folder_is_sent_as_one_file_and_only_once(project: Project, image: Made) -> None:
    words = ("prep", "--image", f"oci:{image.folder}", "--command", "tool")
    assert project.call(*words) == 0
    told = record(project)["image"]
    assert told["kind"] == "oci-archive"
    sent = project.store.head(told["key"])
    assert sent
    # The same folder, whatever its times: the same file.
    for path in image.folder.rglob("*"):
        path.touch()
    assert project.call(*words) == 0
    assert record(project)["image"] == told


def test_of_several_images_in_a_folder_the_tag_says_which(
    project: Project, image: Made, tmp_path: Path, capsys: Captured
) -> None:
    other = make_image(tmp_path / "other", [layer(entry("b"))])
    shutil.copytree(other.folder / "blobs", image.folder / "blobs", dirs_exist_ok=True)
    described = [
        {"digest": one.digest, "size": one.blob(one.digest).stat().st_size,
         "mediaType": one.manifest["mediaType"], "platform": {"architecture": PROCESSOR},
         "annotations": {"org.opencontainers.image.ref.name": tag}}
        for one, tag in ((image, "one"), (other, "two"))
    ]  # fmt: skip
    index = {"schemaVersion": 2, "manifests": described}
    (image.folder / "index.json").write_text(json.dumps(index))
    assert project.call("prep", "--image", f"oci:{image.folder}", "--command", "tool") == 2
    assert "their tags: one, two" in capsys.readouterr().err
    assert project.call("prep", "--image", f"oci:{image.folder}:two", "--command", "tool") == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image": "ghcr.io/lab/tool:1"}, 'run.image = "docker://ghcr.io/lab/tool:1"'),
        ({"image": "docker://UPPER"}, "is not the name of an image"),
        ({"image": "oci:nowhere"}, "is not an image in an OCI layout"),
        ({"image": "docker-archive:nowhere.tar"}, "is not a file"),
        ({"network": True}, "run.image is not set"),
        ({"image": PINNED, "image_secret": "geheim"}, "not the ARN of a secret"),
        ({"image": PINNED, "env": "env/", "dependencies": "requirements.txt"}, "run.image brings"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(
    project: Project, capsys: Captured, settings: dict[str, Any], said: str
) -> None:
    project.write_script("#!/bin/sh\n")
    (project.folder / "env" / "requirements.txt").write_text("numpy\n")
    configure(project, name=project.run, command="tool", **settings)
    assert project.call("prep") == 2
    err = " ".join(capsys.readouterr().err.split())
    assert said in err
    assert "geheim" not in err


def test_packages_are_left_to_the_image_and_that_is_said(
    project: Project, capsys: Captured
) -> None:
    project.write_script("#!/bin/sh\n")
    (project.folder / "env" / "requirements.txt").write_text("numpy\n")
    configure(project, name=project.run, command="./job.sh", env="env/", image=PINNED)
    assert project.call("prep") == 0
    assert "requirements.txt of the environment is ignored" in capsys.readouterr().err
    assert record(project)["dependencies"] is None


def test_a_program_of_the_image_is_not_looked_for_here(project: Project) -> None:
    """Nor is its place judged: a home folder of the image is on each worker."""
    program = f"{Path.home()}/bin/tool"
    configure(project, name=project.run, command=program, image=PINNED)
    assert project.call("prep") == 0
    assert record(project)["command"] == [program]
