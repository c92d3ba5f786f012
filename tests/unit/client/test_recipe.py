"""A run's recipe: whatever is done alike to each input is in it, and nothing else."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.runs.environment.environment_zip import zip_folder
from parallelize.runs.environment.recipe import NO_PART, Recipe, publish_recipe, recipe_of
from parallelize.runs.environment.stored_once import send_environment
from parallelize.together import MAX_UNASKED_BYTES, Together
from parallelize_core.container_image import Image
from parallelize_core.layout import Location, RunLayout
from parallelize_core.run import (
    Checkpointing,
    Dependencies,
    Environment,
    Limits,
    OutputNaming,
    Run,
    Serve,
    Setup,
    Then,
)
from parallelize_core.testing import InMemoryStore

IMAGE = Image(name="docker://ghcr.io/x:1", digest=f"sha256:{'a' * 64}", repository="ghcr.io/x")

RUN = Run(
    name="scans", command=("./job.sh", "--fast"), template=True, columns=("sample",),
    environment=Environment(bucket="b", key="k", identity="i", prefix="p"),
    dependencies=Dependencies(installer="uv", lock="uv.lock", python=">=3.11"),
    setup=Setup(command=("./setup.sh",)), input=Location("b", "in/"), output=Location("b", "out/"),
    naming=OutputNaming(name="{dir}/{stem}{suffix}", on_clash="fail", collect=("*.csv",)),
    serve=Serve(), image=IMAGE, created_at="2026-11-01T00:00:00Z",
)  # fmt: skip

CHANGES: dict[str, list[Any]] = {
    "command": [("./job.sh",), ("./job.sh", "--slow"), ("./job.sh", "--fast", "")],
    "template": [False],
    "columns": [(), ("other",)],
    "environment": [None, Environment(bucket="b", key="k", identity="i")],
    "image": [
        None,
        IMAGE.model_copy(update={"digest": f"sha256:{'b' * 64}"}),
        IMAGE.model_copy(update={"network": True}),
    ],
    "dependencies": [
        None,
        Dependencies(installer="pixi", lock="uv.lock", python=">=3.11"),
        Dependencies(installer="uv", lock="other.lock", python=">=3.11"),
        Dependencies(installer="uv", lock="uv.lock", python=">=3.12"),
    ],
    "setup": [None, Setup(command=("./other.sh",))],
    "naming": [
        OutputNaming(name="{stem}{suffix}", on_clash="fail", collect=("*.csv",)),
        OutputNaming(name="{dir}/{stem}{suffix}", on_clash="suffix", collect=("*.csv",)),
        OutputNaming(name="{dir}/{stem}{suffix}", on_clash="fail", collect=("*.tsv",)),
        OutputNaming(name="{dir}/{stem}{suffix}", on_clash="fail"),
    ],
    "serve": [None],
}  # fmt: skip
"""Other values of each field that is a part of the recipe."""

SAME: dict[str, Any] = {
    "name": "other", "created_at": "2026-11-02T00:00:00Z", "paused": "halt", "forgiven": 3,
    "forgiven_silent": 3, "resumed_at": "2026-11-02T00:00:00Z", "origin": "x", "owner": "y",
    "v": 2, "limits": Limits(timeout_seconds=1, max_attempts=9), "input": Location("c", "d/"),
    "output": Location("c", "e/"), "recipe": "r", "renewed": True,
    "then": Then(command=("./merge.py",)), "checkpoints": Checkpointing(every_seconds=1),
}  # fmt: skip


def digest(run: Run, archive: Path | None = None) -> str:
    return recipe_of(run, archive).digest


def test_what_a_run_does_not_use_is_not_in_its_recipe_so_that_a_new_version_changes_none() -> None:
    plain = RUN.model_copy(update={"image": None, "serve": None, "setup": None, "columns": ()})
    assert {*recipe_of(plain, None).settings} == {
        "command", "template", "environment", "dependencies", "naming",
    }  # fmt: skip


def test_each_field_of_a_run_is_either_in_its_recipe_or_known_to_be_no_part_of_it() -> None:
    assert {*CHANGES} | {*SAME} == {*Run.model_fields}
    assert {*SAME} == NO_PART


@given(st.sampled_from([(name, value) for name, values in CHANGES.items() for value in values]))
def test_each_part_of_it_changes_it(change: tuple[str, Any]) -> None:
    name, value = change
    assert digest(RUN.model_copy(update={name: value})) != digest(RUN)


@given(st.sampled_from(sorted(SAME)))
def test_what_happens_to_a_run_does_not(name: str) -> None:
    assert digest(RUN.model_copy(update={name: SAME[name]})) == digest(RUN)


@pytest.mark.parametrize("other", [
    {"environment": Environment(bucket="c", key="l", identity="j", prefix="p")},
    {"setup": Setup(command=("./setup.sh",), timeout_seconds=1)},
    {"serve": Serve(jobs=1, growth_bytes=1)},
])  # fmt: skip
def test_nor_where_a_zip_lies_nor_how_long_something_may_take(other: dict[str, Any]) -> None:
    assert digest(RUN.model_copy(update=other)) == digest(RUN)


def test_the_name_of_a_run_is_part_of_it_where_outputs_are_named_after_it() -> None:
    naming = OutputNaming(name="{run}/{stem}{suffix}")
    one = RUN.model_copy(update={"naming": naming})
    assert digest(one) != digest(one.model_copy(update={"name": "other"}))


names = st.text("abc", min_size=1, max_size=3)
folders = st.dictionaries(names, st.tuples(st.binary(max_size=3), st.sampled_from([0o644, 0o755])))


def zipped(folder: Path, files: dict[str, tuple[bytes, int]], *, seconds: int = 0) -> Path:
    folder.mkdir()
    for name, (content, mode) in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(mode)
        os.utime(folder / name, (seconds, seconds))
    archive = folder.with_suffix(".zip")
    zip_folder(folder, archive)
    return archive


@given(folders, folders)
def test_it_changes_with_the_name_the_content_and_the_mode_of_each_file(
    tmp_path_factory: pytest.TempPathFactory,
    one: dict[str, tuple[bytes, int]],
    other: dict[str, tuple[bytes, int]],
) -> None:
    root = tmp_path_factory.mktemp("env")
    first, second = zipped(root / "one", one), zipped(root / "other", other, seconds=10**9)
    assert (digest(RUN, first) == digest(RUN, second)) == (one == other)


def test_how_a_zip_was_packed_is_no_part_of_it(tmp_path: Path) -> None:
    made = []
    for name, packing, order in (
        ("a", zipfile.ZIP_STORED, "xy"),
        ("b", zipfile.ZIP_DEFLATED, "yx"),
    ):
        made.append(tmp_path / name)
        with zipfile.ZipFile(made[-1], "w", packing) as archive:
            for entry in order:
                archive.writestr(zipfile.ZipInfo(entry, (1990, 1, 1 + len(made), 0, 0, 0)), "same")
    assert made[0].read_bytes() != made[1].read_bytes()
    assert digest(RUN, made[0]) == digest(RUN, made[1])


def test_an_image_of_the_same_digest_is_the_same_wherever_it_comes_from() -> None:
    moved = IMAGE.model_copy(update={"name": "other", "repository": "docker.io/library/x"})
    assert digest(RUN.model_copy(update={"image": moved})) == digest(RUN)


class CountedStore(InMemoryStore):
    """A bucket that counts how often an object is sent to it."""

    sent = 0

    def put(self, *args: Any, **named: Any) -> str | None:
        self.sent += 1
        return super().put(*args, **named)


def test_a_recipe_or_a_zip_that_is_large_is_not_sent_in_vain(tmp_path: Path) -> None:
    store, layout = CountedStore(), RunLayout(Location("bucket"), "scans")
    archive = tmp_path / "env.zip"
    archive.write_bytes(b"x" * (MAX_UNASKED_BYTES + 1))
    wanted = Environment(bucket="bucket", key="env.zip", identity="x")
    recipe = Recipe(settings={}, files={f"{n:04}": f"100644 {'a' * 64}" for n in range(1000)})
    for _ in range(2):
        publish_recipe(Together(store), layout, recipe)()
        send_environment(Together(store), archive, wanted, None)()
    assert store.sent == 2
