"""The dashboard reads once for all who look, and not at all while nobody does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event
from typing import Any

import pytest
from tests.unit.watching.report_scene import Page
from tests.unit.watching.scene import LAYOUT, NOW, Scene

from parallelize.dashboard.live import Place
from parallelize.dashboard.site import OVER_SECONDS, Answer, Shared, Site
from parallelize.runs.state.history import HistoryReader
from parallelize.runs.state.watch import INTERVAL_SECONDS, LISTING_SHARE
from parallelize_core.errors import AccessError, ParallelizeError
from parallelize_core.heartbeat import WorkerState
from parallelize_core.store import ObjectInfo
from parallelize_core.testing import InMemoryStore


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingStore(InMemoryStore):
    """A bucket that counts listings by prefix and reads by key, and can be cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: Counter[str] = Counter()
        self.read: Counter[str] = Counter()
        self.refuses: Exception | None = None

    def list(self, prefix: str, *, folder_only: bool = False) -> Iterator[ObjectInfo]:
        self._count(self.listed, prefix)
        return super().list(prefix, folder_only=folder_only)

    def folders(self, prefix: str) -> Iterator[str]:
        self._count(self.listed, prefix)
        return iter(["scans"])

    def get(self, key: str) -> bytes:
        self._count(self.read, key)
        return super().get(key)

    def _count(self, counter: Counter[str], what: str) -> None:
        if self.refuses:
            raise self.refuses
        counter[what] += 1

    @property
    def results_listed(self) -> int:
        return self.listed[LAYOUT.results.prefix]


@dataclass
class Bench:
    """A site over a bucket that counts, and its clock."""

    store: CountingStore = field(default_factory=CountingStore)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.scene = Scene(store=self.store)
        self.scene.prepare("a", "b")
        self.scene.beat("i-1", running=("a",))
        self.site = Site(place(self.store), self.clock, lambda: NOW)

    def get(self, path: str, **query: str) -> Answer:
        return self.site.answer(path, query)

    def json(self) -> Any:
        return json.loads(self.get("scans/live.json").text)


def place(store: InMemoryStore) -> Place:
    def tell(error: Exception, run: str) -> ParallelizeError | None:
        return error if isinstance(error, ParallelizeError) else None

    return Place(store, LAYOUT.base, lambda run: None, lambda run: f" --run {run}", tell)


def test_however_many_look_the_run_is_read_once_an_interval() -> None:
    bench = Bench()
    for _ in range(20):
        assert bench.get("scans/").status == HTTPStatus.OK
        bench.json()
    assert bench.store.results_listed == 1
    bench.clock.now += INTERVAL_SECONDS + 0.1
    for _ in range(20):
        bench.json()
    assert bench.store.results_listed == 2


def test_while_nobody_looks_nothing_is_read() -> None:
    bench = Bench()
    assert not bench.store.listed
    bench.get("scans/")
    before = bench.store.listed.copy(), bench.store.read.copy()
    bench.clock.now += 24 * 3600
    assert (bench.store.listed, bench.store.read) == before
    bench.get("scans/")
    assert bench.store.results_listed == 2


def test_what_was_read_once_is_not_read_again() -> None:
    bench = Bench()
    bench.scene.fail("a")
    bench.scene.attempt("a", 1)
    bench.get("scans/")
    bench.store.read.clear()
    bench.clock.now += 60
    bench.scene.finish("b")
    bench.get("scans/")
    assert dict(bench.store.read) == {LAYOUT.run_json: 1, LAYOUT.result("b"): 1}


def test_a_run_that_is_over_is_looked_at_once_a_minute() -> None:
    bench = Bench()
    bench.scene.finish("a")
    bench.scene.finish("b")
    bench.scene.beat("i-1", WorkerState.LEFT)
    bench.get("scans/")
    bench.clock.now += OVER_SECONDS - 1
    bench.get("scans/")
    assert bench.store.results_listed == 1
    bench.clock.now += 2
    bench.get("scans/")
    assert bench.store.results_listed == 2


def test_a_look_that_took_long_is_good_for_longer() -> None:
    clock, made = Clock(), []

    def make() -> int:
        clock.now += 50
        made.append(1)
        return len(made)

    shared = Shared(make, lambda _: 3.0, clock)
    assert shared.get() == 1
    clock.now += LISTING_SHARE * 50 - 1
    assert shared.get() == 1
    clock.now += 1
    assert shared.get() == 2


def test_while_one_looks_anew_the_others_are_given_what_there_is() -> None:
    clock, looking, go_on = Clock(), Event(), Event()
    made: list[int] = []

    def make() -> int:
        if made:
            looking.set()
            assert go_on.wait(30)
        made.append(1)
        return len(made)

    shared = Shared(make, lambda _: 3.0, clock)
    shared.get()
    clock.now += 10
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(shared.get)
        assert looking.wait(30)
        assert shared.get() == 1
        go_on.set()
        assert slow.result() == 2
    assert shared.get() == 2


def test_many_first_askers_make_one_look() -> None:
    began, go_on = Event(), Event()
    made: list[int] = []

    def make() -> int:
        made.append(1)
        began.set()
        assert go_on.wait(30)
        return len(made)

    shared = Shared(make, lambda _: 3.0, Clock())
    with ThreadPoolExecutor() as pool:
        askers = [pool.submit(shared.get) for _ in range(4)]
        assert began.wait(30)
        go_on.set()
        assert [asker.result() for asker in askers] == [1, 1, 1, 1]


def test_a_look_that_fails_by_a_fault_of_ours_lets_the_next_one_try() -> None:
    divisors = [0, 1]
    shared = Shared(lambda: 2 // divisors.pop(0), lambda _: 3.0, Clock())
    with pytest.raises(ZeroDivisionError):
        shared.get()
    assert shared.get() == 2


def test_an_error_is_told_in_words_kept_for_an_interval_and_over_when_it_is_over() -> None:
    bench = Bench()
    bench.store.refuses = AccessError("the session has expired", "at noon", "aws sso login")
    answer = bench.get("scans/")
    assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
    text = Page(answer.text).text
    assert all(told in text for told in ("the session has expired", "at noon", "aws sso login"))
    error = bench.json()["error"]
    assert (error["what"], error["fix"]) == ("the session has expired", "aws sso login")
    bench.store.refuses = None
    assert "error" in bench.json()
    bench.clock.now += INTERVAL_SECONDS + 0.1
    assert bench.json()["status"]["total"] == 2


def test_a_fault_of_ours_is_not_dressed_up() -> None:
    bench = Bench()
    bench.store.refuses = KeyError("x")
    with pytest.raises(KeyError):
        bench.get("scans/")


def test_a_run_that_is_not_there_yet_is_shown_as_soon_as_it_is() -> None:
    store, clock = InMemoryStore(), Clock()
    site = Site(place(store), clock)
    answer = site.answer("scans/", {})
    assert answer.status == HTTPStatus.NOT_FOUND
    assert 'there is no run "scans"' in Page(answer.text).text
    Scene(store=store).prepare("a")
    clock.now += INTERVAL_SECONDS + 0.1
    assert site.answer("scans/", {}).status == HTTPStatus.OK


def test_why_a_run_stands_still_is_told_with_a_command_that_means_this_run() -> None:
    store = InMemoryStore()
    Scene(store=store).prepare("a", sent=0)
    text = Page(Site(place(store), Clock()).answer("scans/", {}).text).text
    assert "nothing was sent to the queue yet: parallelize enqueue --run scans" in text


def test_the_runs_are_listed_once_for_all_who_look() -> None:
    bench = Bench()
    for _ in range(5):
        assert '<a href="scans/">scans</a>' in bench.get("").text
    assert bench.store.listed["runs/"] == 1


def test_the_log_of_a_failed_file_is_where_its_link_leads() -> None:
    bench = Bench()
    bench.scene.fail("a", log="Traceback\nValueError: bad header\n")
    bench.scene.attempt("a", 1, worker="i-7")
    assert 'href="log?key=a"' in bench.get("scans/").text
    text = Page(bench.get("scans/log", key="a").text).text
    assert all(told in text for told in ("ValueError: bad header", "i-7", "Attempt 1", "Attempt 3"))


@pytest.mark.parametrize("key", ["b", "nobody", "", "../run.json", "a\nb", "/", "\ud800"])
def test_a_file_without_an_attempt_or_with_an_impossible_name_has_no_log(key: str) -> None:
    answer = Bench().get("scans/log", key=key)
    assert answer.status == HTTPStatus.NOT_FOUND
    Page(answer.text)


@pytest.mark.parametrize(
    "path", ["x", "scans", "scans/x", "scans/x/y", "../", "<b>/", "scans-dead/", ".", "/", "a.b/"]
)
def test_other_paths_lead_nowhere_and_ask_nothing(path: str) -> None:
    bench = Bench()
    answer = bench.get(path)
    assert answer.status == HTTPStatus.NOT_FOUND
    assert not bench.store.listed
    [home] = [a["href"] for tag, a in Page(answer.text).tags if tag == "a"]
    assert home == ("../" * path.count("/") or "./")


def test_a_long_run_is_read_in_parts_and_then_whole() -> None:
    scene = Scene()
    scene.prepare(*"abcde")
    for key in "abcde":
        scene.finish(key)
    reader = HistoryReader(scene.store, LAYOUT, batch=2)
    looks = [reader.read(scene.snapshot()) for _ in range(3)]
    assert [(len(look.results), look.unread) for look in looks] == [(2, 3), (4, 1), (5, 0)]


def test_of_a_run_that_is_too_large_no_record_is_read() -> None:
    bench = Bench()
    bench.scene.finish("a")
    bench.scene.finish("b")
    found = HistoryReader(bench.store, LAYOUT, most=1).read(bench.scene.snapshot())
    assert (found.results, found.too_many) == ({}, True)
    assert not bench.store.read[LAYOUT.result("a")]


def test_a_file_that_was_sent_again_has_its_new_result() -> None:
    scene = Scene()
    scene.prepare("a")
    reader = HistoryReader(scene.store, LAYOUT)
    scene.fail("a")
    assert reader.read(scene.snapshot()).results["a"].status == "failed"
    scene.finish("a")
    assert reader.read(scene.snapshot()).results["a"].status == "succeeded"
