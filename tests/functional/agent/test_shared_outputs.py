"""Two runs that send their outputs to one place: each value of output.on_clash, and no mix-up."""

from __future__ import annotations

import pytest
from tests.functional.agent.bench import SWIFT, Bench
from tests.functional.agent.conftest import MakeBench

from parallelize_core.layout import Location
from parallelize_core.run import Limits, OutputNaming, Run
from parallelize_core.testing import InMemoryStore

PLACE = Location("bucket", "shared/")
INPUTS = {"d/a": b"1", "d/b": b"2"}


@pytest.fixture
def store() -> InMemoryStore:
    return InMemoryStore()


PLAIN = 'f=$(basename "$1").txt'
"""The name of an output, as a shell makes it."""


def begin(
    make: MakeBench, store: InMemoryStore, name: str, on_clash: str, file: str = PLAIN
) -> Bench:
    """Carry out a run at a place of its own, whose outputs go to the shared one."""
    bench = make(
        f'{file}; mkdir -p "$(dirname "$f")"; echo "{name} $f" > "$f"; echo "$f"',
        naming=OutputNaming.model_validate({"on_clash": on_clash}),
        limits=Limits(max_attempts=1),
        store=store,
        config=SWIFT.model_copy(update={"prefix": f"{name}/"}),
    )
    run = Run.decode(store.get(bench.layout.run_json)).model_copy(update={"output": PLACE})
    store.put(bench.layout.run_json, run.encode())
    bench.add(INPUTS)
    bench.run(f"worker-of-{name}")
    return bench


def made(bench: Bench, key: str) -> bytes:
    """Return the content of the output that a result names."""
    (output,) = bench.result(key).outputs
    return bench.store.get(PLACE.key(output.key))


def test_the_second_fails_and_names_the_first(make: MakeBench, store: InMemoryStore) -> None:
    first = begin(make, store, "one", "fail")
    second = begin(make, store, "two", "fail")
    assert made(first, "d/a") == b"one a.txt\n"
    assert second.result("d/a").status == "failed"
    assert "d/a of the run at s3://bucket/one/runs/r/" in second.result("d/a").message


def test_each_keeps_its_own_under_a_suffix_however_many_there_are(
    make: MakeBench, store: InMemoryStore
) -> None:
    runs = {name: begin(make, store, name, "suffix") for name in ("one", "two", "three", "four")}
    for name, bench in runs.items():
        assert made(bench, "d/a") == f"{name} a.txt\n".encode()
        assert made(bench, "d/b") == f"{name} b.txt\n".encode()
    names = {bench.result("d/a").outputs[0].key for bench in runs.values()}
    assert len(names) == len(runs)
    # One suffix is enough for each of them.
    assert max(map(len, names)) == len("d/a-12345678.txt")


@pytest.mark.parametrize(
    "file", ["f=.hidden", "f=a.tar.gz/b", "f='two words.txt'", f"f={'n' * 251}.txt", "f=日本/語"]
)
def test_each_keeps_its_own_under_a_suffix_where_all_inputs_of_a_run_make_one_name(
    make: MakeBench, store: InMemoryStore, file: str
) -> None:
    runs = [begin(make, store, name, "suffix", file) for name in ("one", "two", "three")]
    keys = [bench.result(key).outputs[0].key for bench in runs for key in INPUTS]
    assert len(set(keys)) == len(keys)
    for name, bench in zip(("one", "two", "three"), runs, strict=True):
        assert {made(bench, key).partition(b" ")[0] for key in INPUTS} == {name.encode()}


def test_the_second_takes_the_place_of_the_first_only_if_that_is_said(
    make: MakeBench, store: InMemoryStore
) -> None:
    first = begin(make, store, "one", "fail")
    second = begin(make, store, "two", "replace")
    assert made(second, "d/a") == made(first, "d/a") == b"two a.txt\n"
    (before,), (after,) = first.result("d/a").outputs, second.result("d/a").outputs
    assert before.etag != after.etag  # so that `download` of the first can tell


@pytest.mark.parametrize("on_clash", ["fail", "suffix", "replace"])
def test_a_run_that_is_repeated_replaces_nothing_of_its_own_result(
    make: MakeBench, store: InMemoryStore, on_clash: str
) -> None:
    bench = begin(make, store, "one", on_clash)
    before = {item.key: item.etag for item in store.list(PLACE.prefix)}
    bench.queue.send([bench.message("d/a").encode()])
    bench.run("late")
    assert {item.key: item.etag for item in store.list(PLACE.prefix)} == before
