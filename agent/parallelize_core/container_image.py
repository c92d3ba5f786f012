"""The image that commands run in: its name in settings, and what a run records of it."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from pydantic import Field

from parallelize_core.errors import UsageError
from parallelize_core.record import Contract

DIGEST = r"^sha256:[0-9a-f]{64}$"

REPOSITORY = r"^[a-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$"
"""https://github.com/distribution/reference, always with the registry's host."""

_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"

DOCKER, OCI, ARCHIVES = "docker://", "oci:", ("oci-archive:", "docker-archive:")
"""How names of images in settings begin, by where the image is; the names are skopeo's."""

IMAGES_VARIABLE = "PARALLELIZE_IMAGES"
"""Names a folder of images that the agents of one user share; without it, each has its own."""

Kind = Literal["docker", "oci-archive", "docker-archive"]


class Image(Contract):
    """An image by its digest, so that every worker gets the same one, whenever it pulls.

    If `kind` is docker, it is `repository` in a registry; otherwise it is an object in S3, at
    `bucket` and `key`, with `digest`. `secret` is the ARN of the registry's login in Secrets
    Manager; empty for none, or for the worker's role. With `network`, commands may use the
    machine's network. `name` is what the user wrote.
    """

    name: str
    digest: str = Field(pattern=DIGEST)
    kind: Kind = "docker"
    repository: str = Field(default="", pattern=f"^$|{REPOSITORY}")
    bucket: str = ""
    key: str = ""
    secret: str = ""
    network: bool = False

    @property
    def host(self) -> str:
        """The registry that it is in; empty if it is in none."""
        return self.repository.partition("/")[0]

    @property
    def short(self) -> str:
        """A short name for use in file names."""
        return self.digest.removeprefix("sha256:")


class Reference(NamedTuple):
    """An image in a registry, as people write it: by its tag or its digest."""

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read `docker://HOST/NAME[:TAG][@DIGEST]`; raise UsageError if it is not one.

        Without a host it is Docker Hub's, as with Docker itself.
        """
        rest, _, digest = text.removeprefix("docker://").partition("@")
        folder, slash, last = rest.rpartition("/")
        name, _, tag = last.partition(":")
        repository = _whole(folder + slash + name)
        if not re.fullmatch(REPOSITORY.strip("^$"), repository) or not (
            (not tag or re.fullmatch(_TAG, tag)) and (not digest or re.fullmatch(DIGEST, digest))
        ):
            raise UsageError(
                f"{text!a} is not the name of an image",
                fix='write run.image = "docker://HOST/NAME:TAG", or NAME@sha256:DIGEST',
            )
        return cls(repository, tag or ("" if digest else "latest"), digest)

    @property
    def uri(self) -> str:
        """What skopeo calls it."""
        return f"docker://{self.repository}" + (
            f"@{self.digest}" if self.digest else f":{self.tag}"
        )


def _whole(name: str) -> str:
    host, slash, _ = name.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"
