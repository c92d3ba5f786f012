"""The image of a run: what `run.image` means now, so that it is the same on every worker.

A tag is resolved to its digest once, when the run is prepared; what is pushed under that tag later
affects only other runs. An image in files is sent to the bucket, as one file.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallelize.console import escape
from parallelize.context import Context
from parallelize.transfers import sha256_of
from parallelize_core import skopeo
from parallelize_core.clients import client_config
from parallelize_core.container_image import ARCHIVES, DOCKER, OCI, Image, Kind, Reference
from parallelize_core.errors import UsageError
from parallelize_core.registry import auth_file, check_secret, find_login, is_ecr

_TAG = "org.opencontainers.image.ref.name"
"""https://github.com/opencontainers/image-spec/blob/main/annotations.md"""

_INSTALL = (
    "apt-get install skopeo (brew install skopeo on macOS), or name the image by its digest: "
    "NAME@sha256:..."
)


@dataclass(frozen=True)
class Chosen:
    """The image of a run, and the file to send to the bucket if it is in no registry."""

    image: Image
    archive: Path | None = None


def choose_image(context: Context, folder: Path) -> Chosen | None:
    """Return the image that the settings name; None if they name none. Files go to `folder`.

    Raises UsageError if there is no such image, or no way to find out.
    """
    run = context.settings.run
    if run.image is None:
        _check_alone(context)
        return None
    if run.image_secret:
        check_secret(run.image_secret)
    if run.image.startswith(DOCKER):
        return Chosen(_of_registry(context, run.image))
    if run.image.startswith((OCI, *ARCHIVES)):
        return _of_files(context, run.image, folder)
    raise UsageError(
        f"run.image is {escape(run.image)}, which is not an image name",
        "a name begins with docker://, oci:, oci-archive: or docker-archive:",
        f'run.image = "{DOCKER}{escape(run.image)}" if it is in a registry; '
        'or "oci:FOLDER", "oci-archive:FILE", "docker-archive:FILE"',
    )


def _check_alone(context: Context) -> None:
    run = context.settings.run
    for name, given in (("image_secret", run.image_secret), ("network", run.network)):
        if given:
            raise UsageError(
                f"run.{name} is set, but there is no image",
                "run.image is not set", f"set run.image, or take run.{name} out",
            )  # fmt: skip


def _of_registry(context: Context, text: str) -> Image:
    named = Reference.parse(text)
    digest = named.digest or _resolved(context, named)
    if not named.digest:
        context.tell(f"image: {escape(text)} is {digest}")
    run = context.settings.run
    return Image(
        name=text,
        digest=digest,
        repository=named.repository,
        secret=run.image_secret or "",
        network=run.network,
    )


def _resolved(context: Context, named: Reference) -> str:
    """Ask the registry what a tag means now, with this user's logins."""
    program = skopeo.find(f"the tag of {named.uri} cannot be resolved", _INSTALL)
    host = named.repository.partition("/")[0]

    def open_client(service: str, region: str) -> Any:
        return context.session.client(  # type: ignore[call-overload]
            service, region_name=region, config=client_config()
        )

    # In the local cloud there is no AWS to ask.
    by_role = is_ecr(host) and not context.elsewhere
    login = find_login(host, "", open_client) if by_role else None
    with auth_file(host, login) as auth:
        return skopeo.read_manifest(program, named.uri, skopeo.options(host, auth))[1]


def _of_files(context: Context, text: str, folder: Path) -> Chosen:
    kind: Kind = "docker-archive" if text.startswith("docker") else "oci-archive"
    name = text.partition(":")[2]
    if text.startswith(OCI):
        archive = folder / "image.tar"
        _pack(context, name, archive)
    else:
        archive = context.path(name)
        if not archive.is_file():
            raise UsageError(f"the image {escape(text)} is not a file", fix="fix run.image")
    sha256 = sha256_of(archive)
    image = Image(
        name=text,
        digest=f"sha256:{sha256}",
        kind=kind,
        bucket=context.bucket,
        key=context.layout.image(sha256),
        network=context.settings.run.network,
    )
    return Chosen(image, archive)


def _pack(context: Context, name: str, target: Path) -> None:
    """Pack an image folder into one file; the same folder always gives the same bytes."""
    path, _, tag = name.partition(":")
    source = context.path(path)
    try:
        index = json.loads((source / "index.json").read_bytes())
        manifests = [one for one in index["manifests"] if not tag or _tag_of(one) == tag]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{escape(path)} is not an image in an OCI layout",
            "it has no index.json that names one",
            "make one: docs/containers.md, Without Docker",
        ) from None  # fmt: skip
    if len(manifests) != 1:
        tags = ", ".join(sorted(filter(None, map(_tag_of, index["manifests"]))))
        raise UsageError(
            f"{escape(path)} has {len(manifests)} images, and the name does not say which",
            f"their tags: {escape(tags)}", f'run.image = "oci:{escape(path)}:TAG"',
        )  # fmt: skip
    texts = {
        "index.json": json.dumps(index | {"manifests": manifests}, sort_keys=True).encode(),
        "oci-layout": (source / "oci-layout").read_bytes(),
    }
    with tarfile.open(target, "w") as archive:
        for text_name, text in texts.items():
            _add(archive, text_name, io.BytesIO(text), len(text))
        for blob in sorted(path for path in (source / "blobs").rglob("*") if path.is_file()):
            with blob.open("rb") as file:
                _add(archive, blob.relative_to(source).as_posix(), file, blob.stat().st_size)


def _tag_of(manifest: dict[str, Any]) -> str:
    return str((manifest.get("annotations") or {}).get(_TAG, ""))


def _add(archive: tarfile.TarFile, name: str, content: Any, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    archive.addfile(info, content)
