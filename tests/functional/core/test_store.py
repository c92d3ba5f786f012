"""What every store promises; the shipped fake and S3 are held to the same account."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
from tests.conformance.other_server import other_server
from tests.functional.core.loop_thread import LoopThread

from parallelize_core.async_clients import AsyncClients
from parallelize_core.boto_store import S3Store
from parallelize_core.errors import ChangedError, MissingError, UsageError
from parallelize_core.parts import PART_BYTES
from parallelize_core.store import IF_ABSENT, Condition, Source, Store
from parallelize_core.thread_store import ThreadStore

UNUSUAL = ["ünï/界.txt", "a b+c%20d&e", "<q>'\"", "~", "-rf", "a\u2028b", "x/" * 511 + "xy"]


@pytest.mark.parametrize("body", [b"", b"text", bytes(range(256)) * 100])
def test_an_object_reads_as_it_was_written(store: Store, body: bytes) -> None:
    store.put("key", body)
    assert store.get("key") == body


@pytest.mark.parametrize("key", UNUSUAL)
def test_an_object_with_an_unusual_key_is_found_again(store: Store, key: str) -> None:
    store.put(key, b"body")
    assert store.get(key) == b"body"
    assert [item.key for item in store.list("")] == [key]
    store.delete([key])
    assert store.head(key) is None


def test_a_head_a_listing_and_the_write_agree(store: Store) -> None:
    etag = store.put("key", b"body", metadata={"input": "a.txt"})
    head = store.head("key")
    [listed] = store.list("key")
    assert head is not None
    assert (head.key, head.size, head.etag) == (listed.key, listed.size, listed.etag)
    assert (head.size, head.etag) == (4, etag)
    assert dict(head.metadata) == {"input": "a.txt"}


def test_a_listing_tells_how_old_an_object_is(store: Store) -> None:
    store.put("key", b"")
    [listed] = store.list("key")
    # Not a time zone off, and not the other way round.
    assert listed.age_seconds is not None
    assert listed.age_seconds < 600


def test_metadata_that_s3_cannot_carry_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="metadata"):
        store.put("key", b"", metadata={"input": "ünï"})
    with pytest.raises(UsageError, match="metadata"):
        store.put("key", b"", metadata={"input": "x" * 2048})


def test_what_is_not_there_is_missing(store: Store, tmp_path: Path) -> None:
    assert store.head("nothing") is None
    with pytest.raises(MissingError, match="nothing"):
        store.get("nothing")
    with pytest.raises(MissingError, match="nothing"):
        store.get_file("nothing", tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_file_is_written_and_its_size_answered(store: Store, tmp_path: Path) -> None:
    etag = store.put("key", b"body")
    assert store.get_file("key", tmp_path / "file", etag or "") == 4
    assert (tmp_path / "file").read_bytes() == b"body"


def test_an_object_that_is_not_the_promised_version_is_not_read(
    store: Store, tmp_path: Path
) -> None:
    promised = store.put("key", b"first")
    store.put("key", b"second")
    with pytest.raises(ChangedError, match="changed"):
        store.get_file("key", tmp_path / "file", promised or "")


def test_a_first_write_is_never_overwritten(store: Store) -> None:
    assert store.put("key", b"first", IF_ABSENT)
    assert store.put("key", b"second", IF_ABSENT) is None
    assert store.get("key") == b"first"


def test_of_many_first_writers_exactly_one_wins(store: Store) -> None:
    won: list[bytes] = []

    def write(body: bytes) -> None:
        if store.put("key", body, IF_ABSENT):
            won.append(body)

    threads = [threading.Thread(target=write, args=(b"%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [store.get("key")]


def test_a_version_is_replaced_only_by_who_has_seen_it(store: Store) -> None:
    first = store.put("key", b"first")
    second = store.put("key", b"second", Condition(etag=first))
    assert second
    assert store.put("key", b"late", Condition(etag=first)) is None
    assert store.get("key") == b"second"


def test_a_version_that_is_gone_cannot_be_replaced(store: Store) -> None:
    etag = store.put("key", b"first")
    store.delete(["key"])
    assert store.put("key", b"second", Condition(etag=etag)) is None
    assert store.head("key") is None


def test_a_file_is_sent_from_its_start_wherever_it_stands(store: Store) -> None:
    file = io.BytesIO(b"whole")
    file.read()
    store.put_file("key", file)
    assert store.get("key") == b"whole"


def test_a_listing_has_the_prefix_in_the_order_of_the_keys_bytes(store: Store) -> None:
    for key in ("b/2", "b/1", "a", "b/é", "c", "b/Z"):
        store.put(key, b"")
    assert [item.key for item in store.list("b/")] == ["b/1", "b/2", "b/Z", "b/é"]


def test_a_listing_of_a_folder_leaves_out_its_sub_folders(store: Store) -> None:
    for key in ("log/a/1.json", "log/a/b/1.json", "log/a/2.json", "log/ab"):
        store.put(key, b"")
    found = [item.key for item in store.list("log/a/", folder_only=True)]
    assert found == ["log/a/1.json", "log/a/2.json"]


def test_the_folders_of_a_folder_are_listed_once_and_without_their_content(store: Store) -> None:
    for key in ("runs/a/1", "runs/a/b/2", "runs/c/3", "runs/file", "runs-2/d/4"):
        store.put(key, b"")
    assert list(store.folders("runs/")) == ["a", "c"]
    assert list(store.folders("none/")) == []


def test_deleted_objects_are_gone_and_others_stay(store: Store) -> None:
    for key in ("a", "b", "c"):
        store.put(key, b"")
    store.delete(iter(["a", "c"]))
    assert [item.key for item in store.list("")] == ["b"]


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.put("there", b"")
    store.delete(["nothing"])
    store.delete([])
    assert [item.key for item in store.list("")] == ["there"]


def test_a_version_is_deleted_and_a_later_one_stays(store: Store) -> None:
    first = store.put("a", b"first") or ""
    second = store.put("a", b"second") or ""
    assert not store.delete_version("a", first)
    assert store.get("a") == b"second"
    assert store.delete_version("a", second)
    assert store.head("a") is None


def test_a_version_that_is_gone_counts_as_deleted(store: Store) -> None:
    etag = store.put("a", b"first") or ""
    assert store.delete_version("a", etag)
    assert store.delete_version("a", etag), "as a request that is sent again finds it"


@pytest.fixture
def copying(store: Store, request: pytest.FixtureRequest) -> Store:
    """A store of which the client may ask for copies."""
    kind = request.node.callspec.params["store"]
    if kind.endswith("small cloud"):
        pytest.skip("it serves workers, which copy nothing")
    unheeded = ["overwrites_nothing"] if other_server() else ["overwrites_nothing", "not_copied"]
    if kind.endswith("server") and any(part in request.node.name for part in unheeded):
        # LocalStack, or moto; so the caller looks at the ETag of what was made, too.
        request.applymarker(pytest.mark.xfail(reason="that condition of a copy is not heeded"))
    return store


def test_a_version_is_copied_with_other_metadata(copying: Store) -> None:
    store = copying
    etag = store.put("a b/ü+", b"content", metadata={"owner": "one"}) or ""
    assert store.copy_from(Source(store.bucket, "a b/ü+", etag), "copy", {"owner": "two"}) == etag
    head = store.head("copy")
    assert head is not None
    assert (store.get("copy"), dict(head.metadata)) == (b"content", {"owner": "two"})


def test_what_is_no_longer_that_version_is_not_copied(copying: Store) -> None:
    store = copying
    first = store.put("a", b"first") or ""
    store.put("a", b"second")
    assert store.copy_from(Source(store.bucket, "a", first), "copy") is None
    store.delete(["a"])
    assert store.copy_from(Source(store.bucket, "a", first), "copy") is None
    assert store.head("copy") is None


def test_a_copy_overwrites_nothing(copying: Store) -> None:
    store = copying
    etag = store.put("a", b"first") or ""
    store.put("there", b"other")
    assert store.copy_from(Source(store.bucket, "a", etag), "there") is None
    assert store.get("there") == b"other"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is sent in two parts."""
    path = tmp_path / "large"
    path.write_bytes(b"x" * PART_BYTES + b"end")
    return path


def uploads_left(store: S3Store) -> int:
    answer = store._client.list_multipart_uploads(Bucket=store.bucket)
    return len(answer.get("Uploads", ()))


def test_a_large_file_arrives_whole(store: Store, large: Path, tmp_path: Path) -> None:
    with large.open("rb") as file:
        etag = store.put_file("key", file, IF_ABSENT, {"input": "a"})
    head = store.head("key")
    assert head is not None
    assert (head.size, head.etag, head.metadata["input"]) == (PART_BYTES + 3, etag, "a")
    store.get_file("key", tmp_path / "back", etag or "")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


def test_a_large_file_never_overwrites_a_first_write_and_leaves_no_parts(
    s3_store: S3Store, large: Path
) -> None:
    s3_store.put("key", b"first")
    with large.open("rb") as file:
        assert s3_store.put_file("key", file, IF_ABSENT) is None
    assert s3_store.get("key") == b"first"
    assert uploads_left(s3_store) == 0


def test_a_large_file_from_a_loop_never_overwrites_a_first_write_and_leaves_no_parts(
    s3_store: S3Store,
    loop_store: ThreadStore,
    async_clients: AsyncClients,
    loop_thread: LoopThread,
    large: Path,
) -> None:
    s3_store.put("key", b"first")
    with large.open("rb") as file:
        assert loop_store.put_file("key", file, IF_ABSENT) is None
    assert s3_store.get("key") == b"first"
    loop_thread.run(async_clients.aclose())
    assert uploads_left(s3_store) == 0
