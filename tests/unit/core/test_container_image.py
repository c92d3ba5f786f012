"""How images are named, in settings and in a run's record."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from parallelize_core.container_image import Image, Reference
from parallelize_core.errors import UsageError
from parallelize_core.layout import Location
from parallelize_core.run import Environment, Run

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("docker://ghcr.io/org/tool:1.2", "docker://ghcr.io/org/tool:1.2"),
        ("docker://ghcr.io/org/tool", "docker://ghcr.io/org/tool:latest"),
        ("docker://localhost:5000/tool:1", "docker://localhost:5000/tool:1"),
        ("docker://python:3.12-slim", "docker://docker.io/library/python:3.12-slim"),
        ("docker://org/tool:1", "docker://docker.io/org/tool:1"),
        (f"docker://ghcr.io/org/tool@{DIGEST}", f"docker://ghcr.io/org/tool@{DIGEST}"),
        (f"docker://ghcr.io/org/tool:1@{DIGEST}", f"docker://ghcr.io/org/tool@{DIGEST}"),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text: str, uri: str) -> None:
    assert Reference.parse(text).uri == uri


@pytest.mark.parametrize(
    "text",
    ["docker://", "docker://UPPER/x", "docker://a b", "docker://ghcr.io/x:tag!",
     "docker://ghcr.io/x@sha256:12", "docker://--authfile=/etc/x", "docker://ghcr.io/../x",
     "docker://ghcr.io/x:a/b c"],
)  # fmt: skip
def test_what_names_no_image_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not the name of an image"):
        Reference.parse(text)


@pytest.mark.parametrize("repository", ["--help", "dir:/etc", "ghcr.io", "a/b/../c", "x/y z", "/x"])
def test_a_record_cannot_have_skopeo_read_something_else(repository: str) -> None:
    """Anybody who may write to the bucket may have written it."""
    with pytest.raises(ValidationError):
        Image(name="x", digest=DIGEST, repository=repository)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../x", f"md5:{'a' * 64}"])
def test_a_record_without_a_true_digest_is_none(digest: str) -> None:
    with pytest.raises(ValidationError):
        Image(name="x", digest=digest, repository="ghcr.io/x")


def run(**more: object) -> Run:
    place = Location("b")
    return Run.model_validate(
        {"name": "r", "command": ("x",), "input": place, "output": place, "created_at": "", **more}
    )


def test_the_environments_identity_has_the_digest_of_the_image() -> None:
    zipped = Environment(bucket="b", key="k", identity="abc")
    image = Image(name="x", digest=DIGEST, repository="ghcr.io/x")
    assert run().environment_identity == ""
    assert run(environment=zipped).environment_identity == "abc"
    assert run(image=image).environment_identity == DIGEST
    assert run(environment=zipped, image=image).environment_identity == f"abc+{DIGEST}"
