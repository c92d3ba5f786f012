"""Everything that turns a plain machine into a worker, in one zip: agent, libraries, scripts.

It holds what Packer uploads for an image (packer/provision, systemd, the pinned requirements), and
the wheels that pip would fetch. The same content gives the same bytes, so its SHA-256 can be its
name.
"""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata, util
from pathlib import Path

from parallelize_core.errors import UsageError

PLATFORMS = {
    "x86_64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "arm64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
}
"""glibc 2.28 or older: of the three distributions, Amazon Linux 2023 has the oldest, 2.34."""

OUR_PACKAGES = ("parallelize_agent", "parallelize_core")
CODE = ("*.py", "py.typed")
"""The files of a package that matter; tools leave others there."""

REQUIREMENTS = ("requirements.txt", "pip.txt")

_SOURCES = Path(__file__).parents[3]
_PARTS = {
    "provision": _SOURCES / "packer" / "provision",
    "systemd": _SOURCES / "systemd",
    "image.md": _SOURCES / "docs" / "image.md",
    **{name: _SOURCES / "packer" / name for name in REQUIREMENTS},
}
"""Where a checkout keeps what an installed package has in its `worker` folder (pyproject.toml)."""


def make_bundle(python: str, architecture: str, cache: Path) -> bytes:
    """Return the zip for a version of Python, such as "3.13", and an architecture.

    What pip fetches is kept in `cache`. Raises UsageError if pip cannot fetch it.
    """
    wheels = fetched_wheels(python, architecture, cache)
    name, wheel = agent_wheel()
    files = {name: wheel, **dict(_texts()), **{f"wheels/{w.name}": w.read_bytes() for w in wheels}}
    return _zip(files)


def fetched_wheels(python: str, architecture: str, cache: Path) -> list[Path]:
    """Return the wheels of the requirements; each is checked against its hash when fetched."""
    folder = wheel_folder(python, architecture, cache)
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as partial:
            _fetch(Path(partial, "wheels"), python, architecture)
            try:
                Path(partial, "wheels").rename(folder)
            except OSError:
                # Another process may have been faster.
                if not folder.is_dir():
                    raise
    return sorted(folder.glob("*.whl"))


def wheel_folder(python: str, architecture: str, cache: Path) -> Path:
    """Return where wheels are kept: one folder for each version of the requirements."""
    requirements = b"".join(_part(name).read_bytes() for name in REQUIREMENTS)
    return cache / f"wheels-{python}-{architecture}-{hashlib.sha256(requirements).hexdigest()[:12]}"


def agent_wheel() -> tuple[str, bytes]:
    """Return the agent's wheel, built from what is installed here: its file name and content."""
    version = metadata.version("parallelize")
    files = {
        f"{name}/{path.relative_to(folder)}": path.read_bytes()
        for name in OUR_PACKAGES
        for folder in [_installed(name)]
        for pattern in CODE
        for path in folder.rglob(pattern)
    }
    info = f"parallelize-{version}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: parallelize\nVersion: {version}\n".encode()
    )
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = (
        b"[console_scripts]\nparallelize-agent = parallelize_agent.__main__:main\n"
    )
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    return f"parallelize-{version}-py3-none-any.whl", _zip(files)


def _record(files: Mapping[str, bytes], itself: str) -> bytes:
    """Return a wheel's list of files.

    https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    lines = [
        f"{name},sha256={_wheel_digest(body)},{len(body)}" for name, body in sorted(files.items())
    ]
    return "\n".join([*lines, f"{itself},,", ""]).encode()


def _wheel_digest(body: bytes) -> str:
    digest = hashlib.sha256(body).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _fetch(target: Path, python: str, architecture: str) -> None:
    if util.find_spec("pip") is None:
        raise _no_wheels("pip is not installed in parallelize's environment")
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes",
        "--only-binary=:all:", "--implementation=cp", f"--python-version={python}",
        *(f"--platform={one}" for one in PLATFORMS[architecture]), f"--dest={target}",
        *(f"--requirement={_part(name)}" for name in REQUIREMENTS),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _no_wheels(done.stderr.strip()[-300:])


def _no_wheels(why: str) -> UsageError:
    return UsageError(
        "pip cannot fetch the agent's libraries for the stock image",
        why,
        "parallelize image build   makes an image that needs no download",
    )


def _texts() -> Iterator[tuple[str, bytes]]:
    for name in _PARTS:
        part = _part(name)
        for path in sorted(part.iterdir()) if part.is_dir() else [part]:
            if path.is_file():
                yield str(path.relative_to(part.parent)), path.read_bytes()


def _part(name: str) -> Path:
    inside = Path(__file__).parent / "worker" / name
    return inside if inside.exists() else _PARTS[name]


def _installed(name: str) -> Path:
    spec = util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"the package {name} is not installed here")
    return Path(spec.submodule_search_locations[0])


def _zip(files: Mapping[str, bytes]) -> bytes:
    """Zip files, dated 1980, so that the same content gives the same bytes."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name)
            packed = name.endswith(".whl")
            info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return body.getvalue()
