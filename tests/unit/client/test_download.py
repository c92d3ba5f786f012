"""Fetching outputs, with the shipped store: only what is right appears, and only inside DIR."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import tempfile
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.operations.download import told_refusals
from parallelize.runs.files.download_record import DownloadRecord
from parallelize.runs.files.fetching import Fetcher, Refusal, is_there, refusals
from parallelize.runs.files.known_contents import KnownContents
from parallelize.runs.results.results import still_stored
from parallelize_core.layout import Location
from parallelize_core.result import Output
from parallelize_core.testing import AsyncInMemoryStore, InMemoryStore

OUTPUT = Location("bucket", "out/")


def put(store: InMemoryStore, key: str, content: bytes = b"content") -> Output:
    etag = store.put(OUTPUT.key(key), content)
    assert etag is not None
    return Output(
        key=key, size=len(content), sha256=hashlib.sha256(content).hexdigest(), etag=etag
    )  # fmt: skip


def fetch_all(
    store: InMemoryStore, folder: Path, outputs: Sequence[Output], mode: int = 0o644
) -> tuple[int, tuple[Refusal, ...]]:
    partial = Path(tempfile.mkdtemp(prefix=".partial", dir=folder))
    fetcher = Fetcher(
        AsyncInMemoryStore(store), OUTPUT, DownloadRecord(folder), partial, mode,
        KnownContents(None),
    )  # fmt: skip
    return asyncio.run(fetcher.fetch_all(outputs))


def named(*keys: str) -> list[Output]:
    return [Output(key=key, size=0, sha256="", etag="") for key in keys]


def test_outputs_have_the_folders_of_their_keys(tmp_path: Path) -> None:
    store = InMemoryStore()
    outputs = [put(store, "a.txt"), put(store, "deep/er/ünï x.txt", b"")]
    assert fetch_all(store, tmp_path, outputs) == (2, ())
    assert (tmp_path / "a.txt").read_bytes() == b"content"
    assert (tmp_path / "deep/er/ünï x.txt").read_bytes() == b""


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    store = InMemoryStore()
    output = put(store, "a.txt")
    (tmp_path / "a.txt").write_bytes(b"content")
    store.delete([OUTPUT.key("a.txt")])
    assert fetch_all(store, tmp_path, [output]) == (0, ())


def test_what_an_earlier_download_wrote_is_replaced_by_what_the_job_made_later(
    tmp_path: Path,
) -> None:
    store = InMemoryStore()
    fetch_all(store, tmp_path, [put(store, "a.txt", b"first")])
    assert fetch_all(store, tmp_path, [put(store, "a.txt", b"second")]) == (1, ())
    assert (tmp_path / "a.txt").read_bytes() == b"second"


@pytest.mark.parametrize("name", ["a.txt", "deep/a.txt", "A b\u00fc.dat"])
def test_a_file_that_no_download_has_written_stays(tmp_path: Path, name: str) -> None:
    store = InMemoryStore()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"CONTENT")
    outputs = [put(store, name), put(store, "other.txt")]
    fetched, (refusal,) = fetch_all(store, tmp_path, outputs)
    assert (fetched, refusal.key) == (1, name)
    assert "no download wrote" in refusal.why
    assert (tmp_path / name).read_bytes() == b"CONTENT"


@pytest.mark.parametrize("edited", [b"content, and a remark", b"CONTENT", b""])
def test_a_downloaded_file_that_was_edited_stays(tmp_path: Path, edited: bytes) -> None:
    store = InMemoryStore()
    output = put(store, "a.txt")
    fetch_all(store, tmp_path, [output])
    (tmp_path / "a.txt").write_bytes(edited)
    _, (refusal,) = fetch_all(store, tmp_path, [output])
    assert "was changed after its download" in refusal.why
    assert (tmp_path / "a.txt").read_bytes() == edited


def test_a_file_of_another_place_in_the_folder_is_not_taken_for_a_download(tmp_path: Path) -> None:
    store = InMemoryStore()
    fetch_all(store, tmp_path, [put(store, "a.txt")])
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")  # somebody's copy, under a name of his own
    _, (refusal,) = fetch_all(store, tmp_path, [put(store, "b.txt", b"another")])
    assert refusal.key == "b.txt"
    assert (tmp_path / "b.txt").read_bytes() == b"content"


def test_a_folder_where_an_output_should_be_stays(tmp_path: Path) -> None:
    store = InMemoryStore()
    (tmp_path / "a.txt").mkdir()
    _, (refusal,) = fetch_all(store, tmp_path, [put(store, "a.txt")])
    assert refusal.why.startswith("a folder of this name exists")
    assert (tmp_path / "a.txt").is_dir()


@pytest.mark.parametrize("fault", ["changed", "gone", "checksum", "size"])
def test_a_wrong_output_is_named_and_leaves_no_file(tmp_path: Path, fault: str) -> None:
    store = InMemoryStore()
    bad, good = put(store, "bad.txt"), put(store, "good.txt")
    if fault == "changed":
        put(store, "bad.txt", b"another")
    elif fault == "gone":
        store.delete([OUTPUT.key("bad.txt")])
    elif fault == "checksum":
        bad = bad.model_copy(update={"sha256": "0" * 64})
    else:
        bad = bad.model_copy(update={"size": 8})
    fetched, broken = fetch_all(store, tmp_path, [bad, good])
    assert fetched == 1
    assert [refusal.key for refusal in broken] == ["bad.txt"]
    assert not (tmp_path / "bad.txt").exists()
    assert (tmp_path / "good.txt").exists()


class FullDisk(InMemoryStore):
    """A store whose reader's disk is full after a number of files."""

    room = 1
    asked = 0

    def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        self.asked += 1
        if self.asked > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().get_within(key, limit, etag)


def test_a_full_disk_is_not_tried_with_every_other_output(tmp_path: Path) -> None:
    store = FullDisk()
    outputs = [put(store, f"{number:03}.txt") for number in range(500)]
    (tmp_path / "499.txt").write_bytes(b"content")
    fetched, broken = fetch_all(store, tmp_path, outputs)
    assert fetched == store.room
    assert len(broken) == 498, "what is there already is not missing"
    assert store.asked < 100
    assert {refusal.why for refusal in broken} == {
        "No space left on device; free some space, then the same command fetches the rest"
    }


def test_outputs_that_are_missing_for_the_same_reason_are_told_in_one_breath() -> None:
    refused = [Refusal(f"{number}.txt", "No space") for number in range(500)]
    lines = told_refusals([*refused, Refusal("evil", "it leads out")])
    assert lines == [
        "500 outputs not downloaded: No space\n  0.txt\n  1.txt\n  2.txt\n  and 497 more",
        "not downloaded: evil\n  it leads out",
    ]


def test_nothing_is_told_of_downloads_that_went_well() -> None:
    assert told_refusals([]) == []


def test_a_link_in_place_of_an_output_stays_and_is_not_followed(tmp_path: Path) -> None:
    store = InMemoryStore()
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"content")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.txt").symlink_to(outside)
    output = put(store, "a.txt")
    assert not is_there(folder / "a.txt", output, KnownContents(None))
    _, (refusal,) = fetch_all(store, folder, [output])
    assert refusal.why.startswith("a link of this name exists")
    assert (folder / "a.txt").is_symlink()
    assert outside.read_bytes() == b"content"


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a\nb", "./x"])
def test_keys_that_would_leave_the_folder_are_refused(tmp_path: Path, key: str) -> None:
    assert [refusal.key for refusal in refusals(named(key), tmp_path, one_case=False)] == [key]


def test_a_link_inside_the_folder_cannot_lead_out_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "away").symlink_to(tmp_path)
    (folder / "near").symlink_to(folder)
    found = refusals(named("away/x", "away/new/x", "near/x"), folder, one_case=False)
    assert [refusal.key for refusal in found] == ["away/new/x", "away/x"]


def test_a_file_where_another_output_needs_a_folder_is_named(tmp_path: Path) -> None:
    found = refusals(named("a", "a/b", "c"), tmp_path, one_case=False)
    assert found == [Refusal("a", "another output needs a folder of this name")]


def test_names_that_the_disk_cannot_tell_apart_are_named(tmp_path: Path) -> None:
    outputs = named("A.txt", "a.txt", "b.txt")
    assert refusals(outputs, tmp_path, one_case=False) == []
    found = refusals(outputs, tmp_path, one_case=True)
    assert found == [Refusal("a.txt", "this disk cannot tell it from A.txt")]


@pytest.mark.parametrize(
    ("one", "other"), [("caf\u00e9.txt", "cafe\u0301.txt"), ("\u00fc/a", "u\u0308/a")]
)
def test_two_spellings_of_a_letter_are_named_where_the_disk_takes_them_for_one(
    tmp_path: Path, one: str, other: str
) -> None:
    outputs = named(one, other)
    assert refusals(outputs, tmp_path, one_case=False) == []
    (found,) = refusals(outputs, tmp_path, one_case=False, one_form=True)
    assert "cannot tell it from" in found.why


@given(st.lists(st.text(alphabet="ab./\n\\", max_size=8), max_size=5))
def test_whatever_is_accepted_stays_inside(keys: list[str]) -> None:
    root = Path("/nonexistent/out")
    refused = {refusal.key for refusal in refusals(named(*keys), root, one_case=False)}
    for key in set(keys) - refused:
        assert (root / key).resolve().is_relative_to(root)
        assert (root / key).resolve() != root


def test_files_have_the_permissions_that_were_asked_for(tmp_path: Path) -> None:
    store = InMemoryStore()
    outputs = [put(store, f"{n}.csv") for n in range(20)]
    fetch_all(store, tmp_path, outputs, 0o600)
    assert {(tmp_path / one.key).stat().st_mode & 0o777 for one in outputs} == {0o600}


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_outputs_that_may_replace_each_other_the_one_that_is_stored_is_fetched(
    order: tuple[str, str],
) -> None:
    store = InMemoryStore()
    made = [(put(store, "same.txt", key.encode()), key) for key in order]
    other = (put(store, "other.txt", b"c"), "c")
    kept = still_stored(store, OUTPUT, sorted([*made, other], key=itemgetter(1)))
    assert {key for _, key in kept} == {order[1], "c"}


def test_an_output_that_none_of_its_makers_has_left_is_not_passed_over() -> None:
    store = InMemoryStore()
    made = [(put(store, "same.txt", key.encode()), key) for key in "ab"]
    store.put(OUTPUT.key("same.txt"), b"from outside")
    assert [output.key for output, _ in still_stored(store, OUTPUT, made)] == ["same.txt"]
