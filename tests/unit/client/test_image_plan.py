"""What `image build` would run, and which images `image prune` would delete."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from parallelize.image.catalog import WorkerImage, plan_prune
from parallelize.image.packer import AMD64_ONLY, ImageRequest, find_source, image_in, plan_build
from parallelize_core.errors import UsageError

REQUEST = ImageRequest("1.2.3", "eu-west-1", "debian-13", "arm64", ("samtools",), ("numpy<3", "x"))


def image(number: int, base: str = "debian-13", users: tuple[str, ...] = ()) -> WorkerImage:
    created = f"2026-11-{number:02d}T00:00:00.000Z"
    return WorkerImage(f"ami-{number}", created, "1.0", base, "x86_64", users=users)


def variables(command: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in command if "=" in word and not word.startswith("-")]
    return {name: value for name, _, value in pairs}


def test_packer_gets_every_choice_and_the_wheel_that_was_built() -> None:
    plan = plan_build(REQUEST, Path("/src"), Path("/out"))
    *_, build = plan.commands
    given = variables(build)
    assert given["architecture"] == "arm64"
    assert given["extra_packages"] == "samtools"
    assert given["extra_requirements"] == "numpy<3 x"
    assert Path(given["wheel"]).parent == plan.out


def test_the_image_and_its_build_have_the_organizations_tags() -> None:
    tagged = replace(REQUEST, tags={"cost-center": "4711"})
    given = variables(plan_build(tagged, Path("/src"), Path("/out")).commands[-1])
    assert given["tags"] == '{"cost-center": "4711"}'
    template = (find_source(None) / "packer" / "worker.pkr.hcl").read_text()
    for kind in ("tags", "snapshot_tags", "run_tags", "run_volume_tags"):
        assert re.search(rf"^  {kind} += local\.(build_)?tags$", template, re.MULTILINE)


def test_what_was_not_chosen_is_left_to_the_template() -> None:
    plan = plan_build(ImageRequest("1", "r", "debian-13", "amd64"), Path("/src"), Path("/out"))
    assert "extra_packages" not in variables(plan.commands[-1])


def test_the_printed_commands_survive_a_shell() -> None:
    assert "'extra_requirements=numpy<3 x'" in plan_build(REQUEST, Path("/s"), Path("/o")).lines[-1]


VERSIONS = find_source(None) / "packer" / "versions.auto.pkrvars.hcl"


def bases() -> dict[str, str]:
    """The text of each base image's block."""
    block = re.compile(r'^  "([^"]+)" = \{(.*?)^  \}', re.MULTILINE | re.DOTALL)
    return dict(block.findall(VERSIONS.read_text()))


def test_a_base_that_exists_for_amd64_only_is_refused_for_arm64() -> None:
    only = [name for name, text in bases().items() if "%s" not in text]
    assert only == list(AMD64_ONLY)
    for name in only:
        with pytest.raises(UsageError, match="for amd64 only"):
            plan_build(ImageRequest("1", "r", name, "arm64"), Path("/s"), Path("/o"))
        assert plan_build(ImageRequest("1", "r", name, "amd64"), Path("/s"), Path("/o"))


def test_the_gpu_bases_volume_is_as_large_as_its_snapshot() -> None:
    assert "volume_gib = null" in bases()["gpu"]


def test_the_wheel_comes_before_packer() -> None:
    first, *rest = plan_build(REQUEST, Path("/src"), Path("/out")).commands
    assert "wheel" in first
    assert [command[:2] for command in rest] == [("packer", "init"), ("packer", "build")]


def test_a_folder_without_the_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a checkout"):
        find_source(tmp_path)


def test_this_checkout_has_the_template() -> None:
    assert (find_source(None) / "packer" / "worker.pkr.hcl").is_file()


def test_the_image_is_the_one_of_the_last_build() -> None:
    builds = [{"packer_run_uuid": run, "artifact_id": f"eu-west-1:ami-{run}"} for run in "ab"]
    assert image_in(json.dumps({"builds": builds, "last_run_uuid": "b"})) == "ami-b"


def test_the_newest_of_each_kind_stay() -> None:
    images = [image(n) for n in (3, 1, 2)] + [image(4, "gpu")]
    assert [i.id for i in plan_prune(images, keep=1)] == ["ami-2", "ami-1"]


def test_an_image_in_use_stays_however_old_it_is() -> None:
    images = [image(1, users=("lt-1",)), image(2), image(3)]
    assert [i.id for i in plan_prune(images, keep=1)] == ["ami-2"]
