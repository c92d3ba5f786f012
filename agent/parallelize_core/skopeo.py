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
"""The time limit of a copy, which continues with what it lacks when it is repeated."""

INSPECT_SECONDS = 120

_FATAL = re.compile(r'level=fatal msg="(?P<said>.*)"')

_REPEATED = re.compile(r"^(Error parsing image name|[Ii]nitializing source) \S+: ")
"""A prefix that only repeats which image it is about."""

_FINAL = re.compile(
    r"manifest unknown|name unknown|not found|unauthorized|denied|authentication required"
    r"|no image found|unknown blob|does not match|didn't match|did not match|no basic auth"
    r"|invalid (username|reference)|unsupported|file too large|choosing image instance",
    re.IGNORECASE,
)
"""Errors that are the same on every worker, and will still be so in a minute."""

_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+)(:[0-9]+)?")

Run = Callable[[Sequence[str], float], subprocess.CompletedProcess[bytes]]
"""Runs a program for at most a number of seconds, and returns its output."""


def run_here(words: Sequence[str], seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Run a program on this machine."""
    return subprocess.run(words, capture_output=True, check=False, timeout=seconds)


def options(host: str, auth: Path | None, prefix: str = "") -> tuple[str, ...]:
    """Return the options for a registry; like Docker, need no TLS for one on this machine."""
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
    """Return an image's manifest from its registry, and the manifest's digest.

    Raises SetupError if there is none, or access is denied; UnavailableError if the registry does
    not answer, or fails.
    """
    words = (program, "inspect", "--raw", *told, uri)
    done = checked(lambda: run(words, INSPECT_SECONDS), f"the image {uri} cannot be read")
    if len(done) > MAX_MANIFEST_BYTES:
        raise SetupError(f"the image {uri} cannot be read", "its manifest is larger than 4 MiB")
    return done, f"sha256:{hashlib.sha256(done).hexdigest()}"


def checked(call: Callable[[], subprocess.CompletedProcess[bytes]], what: str) -> bytes:
    """Return the output of a call of skopeo; raise the error that its failure means."""
    try:
        done = call()
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(what, f"no answer within {error.timeout:g} s") from None
    if done.returncode == 0:
        return done.stdout
    raise failure(done.stderr, what)


def failure(printed: bytes, what: str) -> ParallelizeError:
    """Return the error that skopeo's last words mean."""
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
