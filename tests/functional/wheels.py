"""A package index on loopback, of wheels that the tests make themselves."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANY = "py3-none-any"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_request(self, *of: object) -> None:
        pass

    def end_headers(self) -> None:
        # Else uv does not ask again for ten minutes.
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


@dataclass(frozen=True)
class Index:
    """An index whose pages are files below `folder`, served at `url`."""

    folder: Path
    url: str

    @property
    def simple(self) -> str:
        """Its address, as pip and uv want it."""
        return f"{self.url}/simple/"

    def add(
        self,
        name: str,
        version: str,
        modules: Mapping[str, str],
        tag: str = ANY,
        requires: str = "",
    ) -> Path:
        """Make a wheel with these modules, and list it."""
        body = wheel(name, version, modules, tag, requires)
        page = self.folder / "simple" / name
        page.mkdir(parents=True, exist_ok=True)
        made = page / f"{name}-{version}-{tag}.whl"
        made.write_bytes(body)
        links = (
            f'<a href="{path.name}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}">'
            f"{path.name}</a>\n"
            for path in sorted(page.glob("*.whl"))
        )
        (page / "index.html").write_text("".join(links))
        return made

    def locked(self, *wheels: Path) -> str:
        """Return a lock of these wheels, by address and hash."""
        packages = "".join(
            "[[packages]]\n"
            f'name = "{path.name.split("-")[0]}"\nversion = "{path.name.split("-")[1]}"\n'
            f'wheels = [{{ url = "{self.url}/{path.relative_to(self.folder)}", '
            f'hashes = {{ sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}" }} }}]\n'
            for path in wheels
        )
        return f'lock-version = "1.0"\ncreated-by = "a test"\n{packages}'


@contextmanager
def serve(folder: Path) -> Iterator[Index]:
    """Serve an empty index."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Index(folder, f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()


def wheel(name: str, version: str, modules: Mapping[str, str], tag: str, requires: str) -> bytes:
    """Return a wheel; `requires` is one requirement, or nothing."""
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},{_digest(text)},{len(text)}\n" for path, text in files.items())
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return body.getvalue()


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
