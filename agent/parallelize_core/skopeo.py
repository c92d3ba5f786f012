"""skopeo, which speaks to registries: https://github.com/containers/skopeo."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from parallelize_core.errors import ParallelizeError, SetupError, UnavailableError

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests"""

TRIES = "3"
"""Of a copy, which goes on with what it lacks; who asks for less asks again."""

INSPECT_SECONDS = 120

_FATAL = re.compile(r'level=fatal msg="(?P<said>.*)"')

_REPEATED = re.compile(r"^(Error parsing image name|[Ii]nitializing source) \S+: ")
"""What only says again which image it is about."""

_FINAL = re.compile(
    r"manifest unknown|name unknown|not found|unauthorized|denied|authentication required"
    r"|no image found|unknown blob|does not match|didn't match|did not match|no basic auth"
    r"|invalid (username|reference)|unsupported|file too large|choosing image instance",
    re.IGNORECASE,
)
"""What is so on every worker, and will be so in a minute."""

_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+)(:[0-9]+)?")

Run = Callable[[Sequence[str], float], subprocess.CompletedProcess[bytes]]
"""Runs a program for a number of seconds at most, and has what it printed."""


def run_here(words: Sequence[str], seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Run a program on this machine."""
    return subprocess.run(words, capture_output=True, check=False, timeout=seconds)


def options(host: str, auth: Path | None, prefix: str = "") -> tuple[str, ...]:
    """Return how to speak to a registry: one on this machine has no certificate, as for Docker."""
    told = ("--authfile", str(auth)) if auth else ()
    return (*told, f"--{prefix}tls-verify=false") if _LOOPBACK.fullmatch(host) else told


def find(what: str, fix: str) -> str:
    """Return the path of skopeo; raise SetupError if it is not on this machine."""
    path = shutil.which("skopeo")
    if path is None:
        raise SetupError(what, "skopeo is not installed here", fix)
    return path


def read_manifest(
    program: str, uri: str, told: Sequence[str], run: Run = run_here
) -> tuple[bytes, str]:
    """Return what a registry says of an image, and the digest of that.

    Raises SetupError if it says that there is none, or none for us; UnavailableError if it says
    nothing, or is in trouble.
    """
    words = (program, "inspect", "--raw", *told, uri)
    done = checked(lambda: run(words, INSPECT_SECONDS), f"the image {uri} cannot be read")
    if len(done) > MAX_MANIFEST_BYTES:
        raise SetupError(f"the image {uri} cannot be read", "its manifest is larger than 4 MiB")
    return done, f"sha256:{hashlib.sha256(done).hexdigest()}"


def checked(call: Callable[[], subprocess.CompletedProcess[bytes]], what: str) -> bytes:
    """Return what a call of skopeo printed; raise the error that its failure means."""
    try:
        done = call()
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(what, f"no answer within {error.timeout:g} s") from None
    if done.returncode == 0:
        return done.stdout
    raise failure(done.stderr, what)


def failure(printed: bytes, what: str) -> ParallelizeError:
    """Return what skopeo's last words mean."""
    lines = printed.decode(errors="replace").strip().splitlines() or ["it printed nothing"]
    fatal = _FATAL.search(lines[-1])
    said = fatal["said"].replace('\\"', '"') if fatal else lines[-1]
    said = "".join(letter if letter.isprintable() else "?" for letter in said)
    said = _REPEATED.sub("", said)[-600:]
    if _FINAL.search(said):
        return SetupError(
            what, said,
            "fix run.image, or let the workers read it (docs/containers.md); parallelize prep",
        )  # fmt: skip
    return UnavailableError(what, said)
