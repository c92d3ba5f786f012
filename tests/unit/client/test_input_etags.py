"""Which ETags are computed before files are sent: only those that something is compared with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from parallelize.runs.inputs.local_inputs import LocalInput
from parallelize.runs.inputs.shared_inputs import SharedFiles, SharedInputs, shared_files
from parallelize_core.files import InputFile
from parallelize_core.layout import Location
from parallelize_core.testing import InMemoryStore

BODY = b"content"
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()


class EtagsOnly(InMemoryStore):
    """A bucket in which nobody has to look at an object beside its listing."""

    def head(self, key: str) -> None:
        raise AssertionError(key)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedInputs:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "a").write_bytes(BODY)
    return SharedInputs(EtagsOnly(), Location("bucket"))


def compared(shared: SharedInputs, folder: Path, known: InputFile | None = None) -> SharedFiles:
    here = LocalInput("a", str(folder / "a"), len(BODY))
    return shared_files(shared, [here], {"a": known}.get)


def test_a_new_content_needs_no_etag_before_it_is_sent(
    shared: SharedInputs, tmp_path: Path
) -> None:
    found = compared(shared, tmp_path)
    assert [(one.etag, one.sha256) for one in found.versions] == [("", SHA256)]
    assert [one.sha256 for one in found.uploads] == [SHA256]


def test_an_existing_upload_is_recognized_by_its_etag_alone(
    shared: SharedInputs, tmp_path: Path
) -> None:
    key = shared.new_key(SHA256)
    shared.store.put(key, BODY)
    found = compared(shared, tmp_path)
    assert [one.version.etag for one in found.borrowed] == [MD5]
    assert not found.uploads


def test_a_file_of_the_manifest_that_is_gone_from_its_place_keeps_its_etag(
    shared: SharedInputs, tmp_path: Path
) -> None:
    known = InputFile(key="a", size=len(BODY), etag=MD5, stored=f"{SHA256}/0")
    found = compared(shared, tmp_path, known)
    assert [one.etag for one in found.versions] == [MD5]
    assert [one.name for one in found.uploads] == ["a"]
