"""A pulled image's manifest and configuration, read as hostile input: anyone may have made it."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallelize_core.errors import SetupError

MAX_LAYERS = 1000
MAX_CONFIG_BYTES = 8 * 1024 * 1024
MAX_VARIABLES_BYTES = 64 * 1024
"""A command's variables and arguments share 2 MiB, and one of them may take 128 KiB: execve(2)."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*=[^\0]*", re.DOTALL)


@dataclass(frozen=True)
class Blob:
    """A part of an image: its digest, and the size that it claims, in bytes."""

    digest: str
    size: int

    @property
    def name(self) -> str:
        """The name of the file that skopeo writes it to."""
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True)
class Manifest:
    """One image: its configuration and its layers, the lowest first."""

    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """The configuration and all layers."""
        return (self.config, *self.layers)


def instance(text: bytes) -> str | None:
    """Return the digest of this machine's image in a list for several processors.

    None if it is not a list. Raises SetupError if there is none for this machine.
    """
    manifests = _object(text).get("manifests")
    if manifests is None:
        return None
    found: dict[str, str] = {}
    for entry in _list(manifests):
        match entry:
            case {"platform": {"os": "linux", "architecture": str(processor)}}:
                found.setdefault(processor, _blob(entry).digest)
    wanted = _architecture()
    if wanted not in found:
        raise _foreign(", ".join(sorted(found)) or "no processor of Linux")
    return found[wanted]


def read_manifest(text: bytes) -> Manifest:
    """Read a manifest; raise SetupError if it is not one, or exceeds the limits."""
    document = _object(text)
    layers = _list(document.get("layers"))
    if len(layers) > MAX_LAYERS:
        raise _odd(f"it has {len(layers):,} layers, and {MAX_LAYERS:,} are allowed")
    config = _blob(document.get("config"))
    if config.size > MAX_CONFIG_BYTES:
        raise _odd(f"its configuration has {config.size:,} bytes")
    return Manifest(config, tuple(map(_blob, layers)))


def check_blobs(folder: Path, manifest: Manifest) -> None:
    """Raise SetupError unless each part matches its digest."""
    for blob in {blob.digest: blob for blob in manifest.blobs}.values():
        with (folder / blob.name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != blob.name:
            raise _odd(f"{blob.digest} has another content: its digest is sha256:{found}")


def read_variables(config: bytes) -> bytes:
    """Return the variables of an image's configuration, as `enter` reads them.

    Of all that a configuration may say this is what counts: commands run as the job's own user, in
    its scratch folder, and are those of the run. Raises SetupError if it is for other processors.
    """
    document = _object(config)
    processor = document.get("architecture")
    if isinstance(processor, str) and processor != _architecture():
        raise _foreign(processor)
    found = document.get("config")
    told = _list(found.get("Env") or []) if isinstance(found, dict) else []
    kept = [text for text in told if isinstance(text, str) and _VARIABLE.fullmatch(text)]
    content = b"".join(text.encode(errors="replace") + b"\0" for text in kept)
    if len(content) > MAX_VARIABLES_BYTES:
        raise _odd(f"its variables (ENV) have {len(content):,} bytes")
    return content


def _architecture() -> str:
    """Return this machine's architecture, as images name it."""
    machine = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _foreign(processors: str) -> SetupError:
    return SetupError(
        f"the image is for {processors[:200]!a}, and this machine is {_architecture()}",
        fix="build it for both, or choose workers.types of its kind",
    )


def _object(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _odd(f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _odd("it is not a JSON object")
    return document


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _odd("a list is missing in it")
    return value


def _blob(value: object) -> Blob:
    match value:
        case {"digest": str(digest), "size": int(size)} if _DIGEST.fullmatch(digest) and size >= 0:
            return Blob(digest, size)
    raise _odd("one of its parts has no digest or no size")


def _odd(why: str) -> SetupError:
    return SetupError("the image cannot be used", why, "build it again, and push it")
