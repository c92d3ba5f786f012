"""What one changed line in a large environment costs: bytes sent, and fetched by a running worker.

    python -m tests.bench.stored_once [--megabytes 60] [--files 200]

By the shipped code of `prep` and of the worker, over a bucket in memory that counts. The model of
the environment cannot be compressed. What `prep` sends is list, files, recipe and run.json.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.local_run import show

from parallelize.runs.environment.environment_zip import zip_folder
from parallelize.runs.environment.recipe import publish_recipe, recipe_of
from parallelize.runs.environment.stored_once import environment_of, files_of, send_environment
from parallelize.runs.environment.sweep import sweep
from parallelize.together import Together
from parallelize_agent.job.environment import FileSite
from parallelize_core.layout import Location, RunLayout
from parallelize_core.run import Environment, Run
from parallelize_core.store import ALWAYS, Condition
from parallelize_core.testing import InMemoryStore

BASE = Location("bucket")
SCRIPTS = 10


class CountingStore(InMemoryStore):
    """A bucket that counts the bytes and the calls each way."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self.sent = self.fetched = self.calls = 0

    def get(self, key: str) -> bytes:
        body = super().get(key)
        self.calls += 1
        self.fetched += len(body)
        return body

    def get_file(self, key: str, path: Path, etag: str = "") -> int:
        self.calls += 1
        size = super().get_file(key, path, etag)
        self.fetched += size
        return size

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        self.calls += 1
        self.sent += len(body)
        return super().put(key, body, condition, metadata)


class Bench:
    """An environment on disk, a bucket, and a worker's folder."""

    def __init__(self, folder: Path) -> None:
        self.store = CountingStore()
        self.source = folder / "env"
        self.archive = folder / "environment.zip"
        self.root = folder / "worker"
        self.root.mkdir()
        self.before: dict[str, Environment] = {}
        self.places = 0

    def make(self, size: int, files: int) -> None:
        """Write the environment: some scripts, and files that cannot be compressed."""
        (self.source / "model").mkdir(parents=True)
        for number in range(SCRIPTS):
            self.write_script(number, "one")
        for number in range(files - SCRIPTS):
            part = self.source / "model" / f"{number:04}.bin"
            part.write_bytes(os.urandom(size // (files - SCRIPTS)))

    def write_script(self, number: int, word: str) -> None:
        lines = [f"echo line {line} of script {number}" for line in range(200)]
        lines[100] = f"echo {word}"
        (self.source / f"{number}.sh").write_text("\n".join(lines))

    def prep(self, name: str) -> Environment:
        """Send what `prep` sends of the environment of the run `name`."""
        layout = RunLayout(BASE, name)
        zip_folder(self.source, self.archive)
        files = files_of(self.archive)
        assert files
        environment = environment_of(layout, files, "")
        calls = Together(self.store)
        send_environment(calls, self.archive, environment, self.before.get(name))()
        run = Run(
            name=name, command=("./0.sh",), environment=environment, input=layout.input,
            output=layout.output, created_at="",
        )  # fmt: skip
        publish_recipe(calls, layout, recipe_of(run, self.archive))()
        self.store.put(layout.run_json, run.encode())
        self.before[name] = environment
        return environment

    def fetch(self, name: str) -> None:
        """Have the worker provide the environment of the run `name`."""
        self.places += 1
        site = FileSite(self.root, self.store, self.before[name])
        site.provide(self.root / f"{self.places}", 2**40)

    def step(self, what: str, do: Callable[[], object]) -> None:
        """Print what something costs."""
        self.store.reset()
        begun = time.monotonic()
        do()
        seconds = time.monotonic() - begun
        store = self.store
        show(
            f"{what:<46} sent {store.sent:>11,} B  fetched {store.fetched:>11,} B"
            f"  {store.calls:>4} calls  {seconds:5.2f} s"
        )


def main() -> None:
    options = make_parser().parse_args()
    with TemporaryDirectory(prefix="stored-once-") as folder:
        bench = Bench(Path(folder))
        bench.make(options.megabytes * 10**6, options.files)
        measure(bench)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stored_once")
    parser.add_argument("--megabytes", type=int, default=60)
    parser.add_argument("--files", type=int, default=200)
    return parser


def measure(bench: Bench) -> None:
    """Send, fetch, change a line, and do so again."""
    bench.step("prep, the first time", lambda: bench.prep("a"))
    bench.step("a worker, the first time", lambda: bench.fetch("a"))
    bench.write_script(3, "two")
    bench.step("prep, one changed line", lambda: bench.prep("a"))
    bench.step("the running worker, one changed line", lambda: bench.fetch("a"))
    bench.step("prep of another run of the same files", lambda: bench.prep("b"))
    bench.step("sweep: the script as it was is still named", lambda: sweep(bench.store, BASE))


if __name__ == "__main__":
    main()
