"""A project folder, and the command line led to a local cloud, in this process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import boto3
import pytest
from tests.conformance.other_server import endpoints

from parallelize import cli
from parallelize.context import Context, open_context
from parallelize.local.cloud import local_cloud
from parallelize.operations.prep import ensure_bucket
from parallelize.options import Common
from parallelize.runs.record.ownership import find_run
from parallelize.runs.results.merge import all_jobs
from parallelize_core.clients import make_session
from parallelize_core.content_key import content_key
from parallelize_core.files import files_of
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import read_entries
from parallelize_core.owner import OWNER, OWNER_RUN, owner_mark, run_mark
from parallelize_core.result import Cause, Output, Result
from parallelize_core.store import AsyncStore, ObjectInfo, Store
from parallelize_core.testing import AsyncInMemoryStore

Made = TypeVar("Made")


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that lead to a local cloud whose machines do nothing, and stay."""
    idle = ("--agent", json.dumps(["sh", "-c", "exec sleep 600"]))
    with local_cloud(tmp_path_factory.mktemp("cloud"), daemon_options=idle) as cloud:
        yield cloud.environ | endpoints()


@dataclass
class Project:
    """A folder with parallelize.toml, env/job.sh and inputs/, and the run that it makes."""

    folder: Path
    run: str
    call: Callable[..., int]

    def add(self, *names: str) -> None:
        for name in names:
            path = self.folder / "inputs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"content of {name}")

    def write_script(self, text: str) -> None:
        script = self.folder / "env" / "job.sh"
        script.parent.mkdir(exist_ok=True)
        script.write_text(text)
        script.chmod(0o755)

    @cached_property
    def context(self) -> Context:
        return open_context(Common())

    @property
    def layout(self) -> RunLayout:
        return self.context.layout

    @property
    def store(self) -> Store:
        return self.context.store

    def head_of(self, name: str) -> ObjectInfo | None:
        """Describe an input where the manifest says that it is."""
        entries = read_entries(self.store, self.layout)
        files = {file.key: file for entry in entries for file in files_of(entry)}
        run = find_run(self.store, self.layout.run_json)
        assert run
        return self.store.head(files[name].place(run.input)[1])

    def content_of(self, name: str) -> bytes:
        """Return an input as workers get it."""
        head = self.head_of(name)
        assert head
        return self.store.get(head.key)

    def finish(self, key: str, *outputs: str, failed: bool = False, etag: str = "") -> None:
        """Do what a worker does at the end of a job: outputs, its mark, the result."""
        store, layout = self.store, self.layout
        owner = {OWNER: owner_mark(key), OWNER_RUN: run_mark(layout)}
        made = []
        for name in outputs:
            body = f"output {name}".encode()
            written = store.put(layout.output.key(name), body, metadata=owner)
            digest = hashlib.sha256(body).hexdigest()
            made.append(Output(key=name, size=len(body), sha256=digest, etag=written or ""))
        if failed:
            store.put(layout.failure(key), b"")
        elif not outputs:
            store.put(layout.silence(key), b"")
        run = find_run(store, layout.run_json)
        recipe = run.recipe if run else ""
        jobs = all_jobs(store, layout, run) if run else []
        content = next((content_key(run, job) for job in jobs if run and job.key == key), "")
        result = Result(
            run=self.run, key=key, attempt=1, worker="w", started_at="", finished_at="",
            cause=Cause.COMMAND if failed else None, outputs=tuple(made), input_etag=etag,
            status="failed" if failed else "succeeded", recipe=recipe, content=content,
        )  # fmt: skip
        store.put(layout.result(key), result.encode())


class CutStore:
    """A bucket that is cut off after a number of writes, as by a crash of the writer."""

    def __init__(self, store: Store, writes: int) -> None:
        self._store = store
        self._left = writes

    def __getattr__(self, name: str) -> Any:
        if name in {"put", "put_file", "delete", "delete_version", "copy_from"}:
            if self._left == 0:
                raise ConnectionAbortedError
            self._left -= 1
        return getattr(self._store, name)


class CutContext(Context):
    """A context with another store."""

    cut: Any = None

    @property
    def store(self) -> Store:
        store: Store = self.cut
        return store

    def transfer(
        self, bucket: str, work: Callable[[AsyncStore], Coroutine[Any, Any, Made]]
    ) -> Made:
        return asyncio.run(work(AsyncInMemoryStore(self.cut)))


def cut_off(context: Context, writes: int) -> Context:
    return with_store(context, CutStore(context.store, writes))


def with_store(context: Context, store: Any) -> Context:
    """Return a context whose run lies in this store."""
    made = CutContext(context.resolved, context.run)
    object.__setattr__(made, "cut", store)
    return made


@cache
def shared_session(
    region: str | None, profile: str | None, environ: tuple[tuple[str, str], ...]
) -> boto3.Session:
    """Keep a session for each environment: a new one parses 2 MB of JSON for its clients."""
    return make_session(region, profile)


@pytest.fixture
def project(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    def session(region: str | None, profile: str | None) -> boto3.Session:
        given = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
        return shared_session(region, profile, tuple(given))

    monkeypatch.setattr("parallelize.context.make_session", session)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    # All tests share a bucket, and none is to find what another has made.
    monkeypatch.setenv("PARALLELIZE_RUN_REUSE", "false")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    run = f"run-{uuid4().hex[:12]}"
    monkeypatch.setenv("PARALLELIZE_AWS_PREFIX", run)
    (folder / "parallelize.toml").write_text(
        f'[run]\nname = "{run}"\ncommand = "./job.sh"\nenv = "env/"\n'
    )
    made = Project(folder, run, lambda *tokens: cli.run(tokens))
    made.write_script("#!/bin/sh\n")
    ensure_bucket(made.context, create=True)
    return made
