"""While outputs are on their way, others write into the folder; what is theirs stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread

from tests.unit.client.test_download import fetch_all, put

from parallelize_core.testing import InMemoryStore


class SlowStore(InMemoryStore):
    """A bucket that takes so long for an answer that somebody does something meanwhile."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def get_within(self, key: str, limit: int, etag: str = "") -> bytes | None:
        self.meanwhile()
        return super().get_within(key, limit, etag)


def test_a_file_that_appears_while_its_output_is_on_its_way_stays(tmp_path: Path) -> None:
    store = SlowStore(meanwhile=lambda: (tmp_path / "a.txt").write_text("mine"))
    fetched, (refusal,) = fetch_all(store, tmp_path, [put(store, "a.txt")])
    assert (fetched, refusal.key) == (0, "a.txt")
    assert (tmp_path / "a.txt").read_text() == "mine"


def test_an_output_that_is_edited_while_a_newer_one_is_on_its_way_stays(tmp_path: Path) -> None:
    store = SlowStore()
    fetch_all(store, tmp_path, [put(store, "a.txt")])
    store.meanwhile = lambda: (tmp_path / "a.txt").write_text("content, and a remark")
    _, (refusal,) = fetch_all(store, tmp_path, [put(store, "a.txt", b"newer")])
    assert "was changed after its download" in refusal.why
    assert (tmp_path / "a.txt").read_text() == "content, and a remark"


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    store = SlowStore(meanwhile=lambda: (out / "sub").symlink_to(elsewhere))
    _, (refusal,) = fetch_all(store, out, [put(store, "sub/a.txt")])
    assert "leads out of it" in refusal.why
    assert list(elsewhere.iterdir()) == []


def test_two_downloads_into_one_folder_at_once_agree(tmp_path: Path) -> None:
    store = SlowStore()
    first = put(store, "a.txt", b"first")
    fetch_all(store, tmp_path, [first])
    second = put(store, "a.txt", b"second")

    def other_download() -> None:
        store.meanwhile = lambda: None
        other = Thread(target=fetch_all, args=(store, tmp_path, [second]))
        other.start()
        other.join()

    store.meanwhile = other_download
    assert fetch_all(store, tmp_path, [second])[1] == ()
    assert (tmp_path / "a.txt").read_bytes() == b"second"
