"""Fetching images: from registries that are honest, private, broken, or lie."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.functional.container.images import (
    HASHED_LOGIN,
    LOGIN,
    Made,
    Registry,
    entry,
    layer,
    make_image,
    needs_registry,
    serve_registry,
)

from parallelize_agent.container.pull import Pulled, Puller
from parallelize_core.container_image import Image
from parallelize_core.errors import MissingError, ServiceError, SetupError, UnavailableError
from parallelize_core.registry import Login
from parallelize_core.testing import InMemoryStore

pytestmark = needs_registry

SMALL = [layer(entry("a", b"x" * 1000))]


def puller(login: Login | None = None, store: InMemoryStore | None = None) -> Puller:
    return Puller(lambda host, secret: login, lambda _: store or InMemoryStore())


def pull(image: Image, folder: Path, by: Puller | None = None, room: int = 10**9) -> Pulled:
    folder.mkdir(parents=True, exist_ok=True)
    return (by or puller()).pull(image, folder, lambda size: room)


class Liar:
    """A registry that answers what a test has it answer, by path."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}

    def blob(self, digest: str) -> bytes:
        return self.made.blob(digest).read_bytes()

    def image(self, host: str) -> Image:
        return Image(name="lie", digest=self.made.digest, repository=f"{host}/lie")


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[tuple[Liar, Image]]:
    told = Liar(make_image(tmp_path / "image", SMALL))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            digest = self.path.rpartition("/")[2]
            if answer := told.answers.get(digest):
                answer(self)
            elif self.path == "/v2/":
                send(self, b"{}")
            else:
                send(self, told.blob(digest))

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield told, told.image(f"127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def send(
    handler: BaseHTTPRequestHandler, body: bytes, code: int = 200, length: int | None = None
) -> None:
    kind = "application/vnd.oci.image.manifest.v1+json"
    handler.send_response(code)
    handler.send_header("Content-Type", kind if "/manifests/" in handler.path else "x/y")
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def test_an_image_is_fetched_with_all_its_parts(registry: Registry, tmp_path: Path) -> None:
    made = make_image(tmp_path / "image", SMALL, {"Env": ["A=b"]})
    pulled = pull(registry.image(made, "whole"), tmp_path / "parts")
    assert [path.read_bytes() for path in pulled.layers] == SMALL
    assert pulled.variables == b"A=b\0"


def test_of_a_list_for_several_processors_this_machines_is_taken(
    registry: Registry, tmp_path: Path
) -> None:
    own = make_image(tmp_path / "own", SMALL)
    other = make_image(tmp_path / "other", [layer(entry("b"))], architecture="s390x")
    folder = own.folder
    for blob in (other.folder / "blobs/sha256").iterdir():
        shutil.copy(blob, folder / "blobs/sha256" / blob.name)
    manifests = [
        {"mediaType": made.manifest["mediaType"], "digest": made.digest,
         "size": made.blob(made.digest).stat().st_size,
         "platform": {"os": "linux", "architecture": processor}}
        for made, processor in ((other, "s390x"), (own, os.uname().machine))
    ]  # fmt: skip
    manifests[1]["platform"]["architecture"] = {"x86_64": "amd64", "aarch64": "arm64"}[
        os.uname().machine
    ]
    text = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    }).encode()  # fmt: skip
    digest = hashlib.sha256(text).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(text)
    index = {"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{digest}",
         "size": len(text)}]}  # fmt: skip
    (folder / "index.json").write_text(json.dumps(index))
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false",
         f"oci:{folder}", f"docker://{registry.host}/both:1"], check=True,
    )  # fmt: skip
    image = Image(name="both", digest=f"sha256:{digest}", repository=f"{registry.host}/both")
    assert [path.read_bytes() for path in pull(image, tmp_path / "parts").layers] == SMALL


def test_an_image_for_other_processors_is_refused_by_name(
    registry: Registry, tmp_path: Path
) -> None:
    made = make_image(tmp_path / "image", SMALL, architecture="s390x")
    with pytest.raises(SetupError, match="for 's390x', but this machine is"):
        _ = pull(registry.image(made, "foreign"), tmp_path / "parts").variables


def test_one_that_does_not_exist_is_the_runs_fault_in_the_registrys_words(
    registry: Registry, tmp_path: Path
) -> None:
    image = Image(name="x", digest=f"sha256:{'0' * 64}", repository=f"{registry.host}/nothing")
    with pytest.raises(SetupError) as refused:
        pull(image, tmp_path / "parts")
    assert "manifest unknown" in str(refused.value)


def test_a_registry_that_cannot_be_reached_is_nobodys_fault(tmp_path: Path) -> None:
    image = Image(name="x", digest=f"sha256:{'0' * 64}", repository="127.0.0.1:1/nothing")
    with pytest.raises(UnavailableError, match="cannot be read"):
        pull(image, tmp_path / "parts")


def test_a_registry_in_trouble_is_nobodys_fault(liar: tuple[Liar, Image], tmp_path: Path) -> None:
    told, image = liar
    told.answers[image.digest] = lambda handler: send(handler, b"", 503)
    with pytest.raises(UnavailableError):
        pull(image, tmp_path / "parts")


def test_another_manifest_than_the_digest_promises_is_refused(
    liar: tuple[Liar, Image], tmp_path: Path
) -> None:
    told, image = liar
    other = make_image(tmp_path / "other", [layer(entry("evil"))])
    told.answers[image.digest] = lambda handler: send(
        handler, other.blob(other.digest).read_bytes()
    )
    with pytest.raises(SetupError):
        pull(image, tmp_path / "parts")


@pytest.mark.parametrize("part", ["config", "layer"])
def test_another_content_than_the_digest_promises_is_refused(
    liar: tuple[Liar, Image], tmp_path: Path, part: str
) -> None:
    told, image = liar
    blob = told.made.manifest["config"] if part == "config" else told.made.manifest["layers"][0]
    told.answers[blob["digest"]] = lambda handler: send(handler, b"y" * blob["size"])
    with pytest.raises((SetupError, UnavailableError)):
        pull(image, tmp_path / "parts")


def test_a_layer_that_never_ends_does_not_fill_the_disk(
    liar: tuple[Liar, Image], tmp_path: Path
) -> None:
    told, image = liar
    sent = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"", length=10**12)
        try:
            while len(sent) < 1000:
                handler.wfile.write(bytes(1024**2))
                sent.append(1)
        except OSError:
            pass  # that is the end of it

    told.answers[told.made.manifest["layers"][0]["digest"]] = endless
    with pytest.raises((SetupError, ServiceError)):
        pull(image, tmp_path / "parts")
    assert len(sent) < 100


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"{}", b'{"config": 1, "layers": []}', b'{"manifests": [1]}',
     b'{"config": {"digest": "sha256:../../x", "size": 1}, "layers": []}',
     b"[" * 100_000,
     json.dumps({"config": {"digest": "sha256:" + "0" * 64, "size": 1}, "layers": [
         {"digest": "sha256:" + "1" * 64, "size": -5}]}).encode()],
    ids=["empty", "list", "object", "numbers", "no image", "path", "deep", "less than nothing"],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(
    liar: tuple[Liar, Image], tmp_path: Path, manifest: bytes
) -> None:
    told, image = liar
    digest = hashlib.sha256(manifest).hexdigest()
    told.answers[f"sha256:{digest}"] = lambda handler: send(handler, manifest)
    with pytest.raises(SetupError):
        pull(image.model_copy(update={"digest": f"sha256:{digest}"}), tmp_path / "parts")


def test_what_has_no_room_is_not_fetched(registry: Registry, tmp_path: Path) -> None:
    made = make_image(tmp_path / "image", SMALL)

    def no_room(size: int) -> int:
        raise SetupError(f"no room for {size}")

    (tmp_path / "parts").mkdir()
    with pytest.raises(SetupError, match="no room"):
        puller().pull(registry.image(made, "large"), tmp_path / "parts", no_room)
    assert list((tmp_path / "parts").iterdir()) == []


def test_without_skopeo_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    image = Image(name="x", digest=f"sha256:{'0' * 64}", repository="127.0.0.1:1/nothing")
    with pytest.raises(SetupError) as refused:
        pull(image, tmp_path / "parts")
    assert "skopeo is not installed here" in str(refused.value)
    assert "workers.root_setup" in str(refused.value)


# Private registries.


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("private"), passwords=HASHED_LOGIN) as made:
        yield made


def test_a_private_registry_takes_the_login_and_no_other(private: Registry, tmp_path: Path) -> None:
    image = private.image(make_image(tmp_path / "image", SMALL), "closed")
    pulled = pull(image, tmp_path / "parts", puller(Login(*LOGIN)))
    assert [path.read_bytes() for path in pulled.layers] == SMALL
    for login in (None, Login("somebody", "else")):
        with pytest.raises(SetupError, match="cannot be read"):
            pull(image, tmp_path / "other", puller(login))


def test_a_persons_own_logins_are_used_where_they_are_named(
    private: Registry, tmp_path: Path
) -> None:
    image = private.image(make_image(tmp_path / "image", SMALL), "own")
    word = base64.b64encode(":".join(LOGIN).encode()).decode()
    auth = tmp_path / "config.json"
    auth.write_text(json.dumps({"auths": {private.host: {"auth": word}}}))

    def ask(host: str, secret: str) -> Login:
        raise AssertionError("AWS was asked")

    by = Puller(ask, lambda _: InMemoryStore(), auth)
    assert pull(image, tmp_path / "parts", by).layers


def test_a_password_is_in_no_argument_and_in_no_file_that_stays_or_that_others_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in skopeo's place looks at what it is given."""
    seen = tmp_path / "seen"
    fake = tmp_path / "bin" / "skopeo"
    fake.parent.mkdir()
    fake.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >>{seen}; env >>{seen}\n'
        'for w; do [ "$b" = --authfile ] && stat -L -c "%a %n" "$w" "$(dirname "$w")"'
        f" >>{seen}; b=$w; done; exit 1\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    image = Image(name="x", digest=f"sha256:{'0' * 64}", repository="127.0.0.1:1/x")
    with pytest.raises(ServiceError):
        pull(image, tmp_path / "parts", puller(Login("somebody", "pass-word")))
    text = seen.read_text()
    assert "pass-word" not in text
    told = [line.split() for line in text.splitlines() if line[:3] in {"600", "700"}]
    modes = {name: mode for mode, name in told}
    assert sorted(modes.values()) == ["600", "700"]
    assert not any(Path(name).exists() for name in modes)


def test_a_role_that_may_not_read_the_secret_is_told_so(tmp_path: Path) -> None:
    def refuse(host: str, secret: str) -> Login:
        raise MissingError(f"there is no secret {secret}")

    by = Puller(refuse, lambda _: InMemoryStore())
    image = Image(
        name="x", digest=f"sha256:{'0' * 64}", repository="127.0.0.1:1/x", secret="arn:aws:x"
    )
    with pytest.raises(SetupError, match="no login for the image"):
        pull(image, tmp_path / "parts", by)


# Files.


def archive(image: Made, kind: str, folder: Path) -> Path:
    path = folder / "image.tar"
    target = f"{kind}:{path}" + (":name:1" if kind == "docker-archive" else "")
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{image.folder}", target],
        check=True,
    )
    return path


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_image_in_a_file_comes_from_the_bucket(kind: Any, tmp_path: Path) -> None:
    content = archive(make_image(tmp_path / "image", SMALL), kind, tmp_path).read_bytes()
    store = InMemoryStore()
    store.put("image.tar", content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    image = Image(name="x", digest=digest, kind=kind, bucket="b", key="image.tar")
    pulled = pull(image, tmp_path / "parts", puller(store=store))
    assert len(pulled.layers) == 1
    assert not (tmp_path / "parts.tar").exists()


def test_another_file_than_was_prepared_is_refused(tmp_path: Path) -> None:
    store = InMemoryStore()
    store.put("image.tar", b"another")
    image = Image(
        name="x", digest=f"sha256:{'0' * 64}", kind="oci-archive", bucket="b", key="image.tar"
    )
    with pytest.raises(SetupError, match="has changed since it was prepared"):
        pull(image, tmp_path / "parts", puller(store=store))
