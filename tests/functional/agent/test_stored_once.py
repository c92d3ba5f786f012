"""Environments that are lists of files, as a worker fetches them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.functional.agent.bench import SWIFT, until
from tests.functional.agent.conftest import MakeBench
from tests.functional.agent.live import at_work

from parallelize_agent.job.environment import FileSite
from parallelize_core import contents
from parallelize_core.contents import Contents
from parallelize_core.errors import DecodeError, ServiceError, UsageError
from parallelize_core.file_list import FileList, Listed
from parallelize_core.layout import Location, RunLayout, shared_by_runs
from parallelize_core.run import Environment
from parallelize_core.testing import InMemoryStore

BASE = Location("bucket")
LAYOUT = RunLayout(BASE, "r")
SHARED = Contents(shared_by_runs(BASE))
ROOM = 10**9


class Bucket(InMemoryStore):
    """A bucket that knows which contents were fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        size = super().get_file(key, path, etag)
        self.fetched.append(key)
        return size


class Site:
    """A worker's folder of environments, and a bucket."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "environments"
        self.root.mkdir()
        self.folder = folder
        self.store = Bucket()
        self.count = 0

    def put(self, body: bytes, sha256: str = "") -> Listed:
        """Store a content; return what a list says of it, but for the name."""
        digest = sha256 or hashlib.sha256(body).hexdigest()
        plain = self.folder / "plain"
        plain.write_bytes(body)
        contents.send(self.store, SHARED.key(digest), plain, self.folder / "packed")
        return Listed(name="x", size=len(body), sha256=digest, mode=0o644)

    def environment(self, files: Mapping[str, bytes]) -> Environment:
        listed = [self.put(body).model_copy(update={"name": n}) for n, body in files.items()]
        return self.store_list(FileList.of(listed))

    def store_list(self, files: FileList) -> Environment:
        key = LAYOUT.file_list(files.identity)
        self.store.put(key, files.pack())
        return Environment(
            bucket="bucket", key=None, identity=files.identity, list_key=key,
            shared=SHARED.place.prefix,
        )  # fmt: skip

    def provide(self, environment: Environment, room: int = ROOM) -> Path:
        self.count += 1
        place = self.root / f"place-{self.count}"
        FileSite(self.root, self.store, environment).provide(place, room)
        return place


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def content_of(place: Path) -> dict[str, bytes]:
    files = (path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


FILES = {"job.sh": b"echo one\n", "lib/model": b"m" * 1000, "lib/empty": b""}


def test_all_files_are_there_as_they_were_sent(site: Site) -> None:
    assert content_of(site.provide(site.environment(FILES))) == FILES


def test_a_worker_fetches_only_what_it_does_not_have(site: Site) -> None:
    site.provide(site.environment(FILES))
    changed = {**FILES, "job.sh": b"echo two\n"}
    environment = site.environment(changed)
    site.store.fetched.clear()
    assert content_of(site.provide(environment)) == changed
    new = hashlib.sha256(b"echo two\n").hexdigest()
    assert site.store.fetched == [SHARED.key(new)]


def test_what_a_set_up_has_changed_is_fetched(site: Site) -> None:
    first = site.provide(site.environment(FILES))
    (first / "lib" / "model").write_bytes(b"n" * 1000)
    assert content_of(site.provide(site.environment(FILES))) == FILES


def test_a_link_in_another_environment_is_not_followed(site: Site, tmp_path: Path) -> None:
    first = site.provide(site.environment(FILES))
    (tmp_path / "elsewhere").write_bytes(FILES["job.sh"])
    (first / "job.sh").unlink()
    (first / "job.sh").symlink_to(tmp_path / "elsewhere")
    environment = site.environment(FILES)
    site.store.fetched.clear()
    site.provide(environment)
    assert len(site.store.fetched) == 1


def test_a_content_that_is_something_else_is_refused(site: Site) -> None:
    listed = site.put(b"as it was")
    site.put(b"as it is!", listed.sha256)
    with pytest.raises(DecodeError, match="the stored content"):
        site.provide(site.store_list(FileList.of([listed])))


def test_no_more_is_unpacked_than_was_announced(site: Site) -> None:
    listed = site.put(b"0" * 10**6).model_copy(update={"size": 10})
    with pytest.raises(DecodeError, match="the stored content"):
        site.provide(site.store_list(FileList.of([listed])))


def test_a_list_that_is_another_is_refused(site: Site) -> None:
    environment = site.environment(FILES)
    other = site.environment({"job.sh": b"rm -r /\n"})
    site.store.put(environment.list_key or "", site.store.get(other.list_key or ""))
    with pytest.raises(DecodeError, match="list"):
        site.provide(environment)


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../out", "", "a//b", "a\nb"])
def test_a_name_that_leads_out_is_refused(site: Site, name: str) -> None:
    files = FileList((Listed.model_construct(name=name, sha256="0" * 64, mode=0, size=0),))
    with pytest.raises(DecodeError, match="list"):
        site.provide(site.store_list(files))


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b")])
def test_files_that_cannot_be_beside_each_other_are_refused(
    site: Site, names: tuple[str, str]
) -> None:
    listed = site.put(b"x")
    files = FileList(tuple(listed.model_copy(update={"name": name}) for name in names))
    with pytest.raises(DecodeError, match="list"):
        site.provide(site.store_list(files))


def test_more_than_there_is_room_for_is_refused_before_anything_is_fetched(site: Site) -> None:
    environment = site.environment(FILES)
    with pytest.raises(UsageError, match="too large"):
        site.provide(environment, room=100)
    assert site.store.fetched == []


def test_a_content_that_a_sweep_has_withdrawn_is_found(site: Site) -> None:
    environment = site.environment(FILES)
    sha256 = hashlib.sha256(FILES["job.sh"]).hexdigest()
    body = site.store.get(SHARED.key(sha256))
    site.store.put(SHARED.withdrawn_key(sha256, "etag"), body)
    site.store.delete([SHARED.key(sha256)])
    assert content_of(site.provide(environment)) == FILES


def test_a_content_that_is_gone_is_named(site: Site) -> None:
    environment = site.environment(FILES)
    site.store.delete([SHARED.key(hashlib.sha256(FILES["job.sh"]).hexdigest())])
    with pytest.raises(ServiceError, match="parallelize prep"):
        site.provide(environment)


def test_an_environment_is_a_zip_or_a_list() -> None:
    both: dict[str, Any] = {"bucket": "b", "identity": "i"}
    with pytest.raises(ValueError, match="a zip or a list"):
        Environment(**both, key="k", list_key="l")
    with pytest.raises(ValueError, match="a zip or a list"):
        Environment(**both, key=None)


def test_a_running_worker_fetches_the_one_file_that_has_changed(
    make: MakeBench, tmp_path: Path
) -> None:
    bucket = Bucket()
    bench = make(
        "true", store=bucket,
        config=SWIFT.model_copy(update={"run_refresh_seconds": 0}),
    )  # fmt: skip
    site = Site(tmp_path)
    site.store = bucket
    script = b'#!/bin/sh\nname="${1##*/}.out"\ncat model "$1" >"$name"\necho "$name"\n'
    bench.environment = site.environment({"job.sh": script, "model": b"one "})
    bench.write_run()
    bench.add({"a": b"a"})
    with at_work(bench.worker()):
        until(lambda: bench.has_result("a") or None)
        bench.environment = site.environment({"job.sh": script, "model": b"two "})
        bench.write_run()
        before = len(bucket.fetched)
        bench.add({"b": b"b"})
        until(lambda: bench.has_result("b") or None)
    assert (bench.output("a.out"), bench.output("b.out")) == (b"one a", b"two b")
    contents_fetched = [key for key in bucket.fetched[before:] if "/.shared/" in f"/{key}"]
    assert contents_fetched == [SHARED.key(hashlib.sha256(b"two ").hexdigest())]
