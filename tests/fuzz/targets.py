"""What comes from outside, and what must hold whatever it is: each target takes any bytes.

A target raises if something other than the promised error comes out, or if a path, a key or a
size gets beyond its bounds. hypothesis drives them in the tests, atheris by the hour.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from parallelize.settings import resolve
from parallelize_agent.job.output_files import OutputError
from parallelize_agent.job.outputs import find_outputs
from parallelize_core import archive, keys
from parallelize_core.config import AgentConfig
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.errors import DecodeError, UsageError
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.job import JobMessage
from parallelize_core.layout import Location, RunLayout, output_name, with_suffix
from parallelize_core.manifest import decode_part, encode_part
from parallelize_core.result import Attempt, Result
from parallelize_core.run import Run

LAYOUT = RunLayout(Location("bucket", "prefix/"), "run")
MAX_UNPACKED_BYTES = 100_000


def _text(data: bytes) -> str:
    """Any bytes as a text, those that are not UTF-8 as lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def message(data: bytes) -> None:
    """A message on the queue: a job with an accepted key, or a DecodeError."""
    body = _text(data)
    try:
        job = JobMessage.decode(body)
    except DecodeError:
        return
    assert keys.refusal(job.key) is None
    assert JobMessage.decode(job.encode()) == job


def key(data: bytes) -> None:
    """A key: refused for a reason, or one that stays inside every folder it is used in."""
    name = _text(data)
    if keys.refusal(name) is not None:
        return
    for made in (
        LAYOUT.result(name),
        LAYOUT.claim(name),
        LAYOUT.attempt(name, 1, "worker", "2027"),
    ):
        assert made.startswith("prefix/runs/run/")
        assert len(made.encode()) <= keys.MAX_S3_KEY_BYTES
    root = Path("/srv/of/all")
    for made in (name, output_name("{dir}/{stem}{suffix}", "run", name, "x.y")):
        assert Path(os.path.normpath(root / made)).is_relative_to(root)
    assert keys.refusal(with_suffix("x.y", name)) is None


def environment(data: bytes) -> None:
    """An environment zip: unpacked within its folder and its size, or a UsageError."""
    with tempfile.TemporaryDirectory() as top:
        path, folder = Path(top, "environment.zip"), Path(top, "deep", "folder")
        path.write_bytes(data)
        with suppress(UsageError):
            archive.extract(path, folder, MAX_UNPACKED_BYTES)
        assert sorted(entry.name for entry in Path(top).iterdir()) in (
            ["deep", "environment.zip"],
            ["environment.zip"],
        )
        assert sum(map(_checked_size, folder.rglob("*"))) <= MAX_UNPACKED_BYTES


def _checked_size(path: Path) -> int:
    found = path.lstat()
    assert stat.S_IFMT(found.st_mode) in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
    if stat.S_ISLNK(found.st_mode):
        assert not path.readlink().is_absolute()
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def user_data(data: bytes) -> None:
    """An agent's configuration: one that is written as it was read, or a UsageError."""
    for text in (data, _text(data)):
        try:
            config = AgentConfig.decode(text, "user data")
        except UsageError:
            continue
        assert AgentConfig.decode(config.encode(), "again") == config


def stdout(data: bytes) -> None:
    """What a command printed: files of its scratch folder, or an OutputError."""
    with _scratch() as (printed, scratch):
        printed.write_bytes(data)
        try:
            found = find_outputs(printed, scratch, None)
        except OutputError:
            return
        for file in found.files:
            assert Path(file.path).resolve(strict=True).is_relative_to(scratch)
            assert keys.refusal(file.name) is None
        assert len({file.path for file in found.files}) == len(found.files)


@contextmanager
def _scratch() -> Iterator[tuple[Path, Path]]:
    """A scratch folder with all that is bad to name, and a secret outside."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder).resolve()
        (top / "secret").write_text("nobody's business")
        scratch = top / "scratch"
        (scratch / "d/e").mkdir(parents=True)
        (scratch / "a").write_text("a")
        (scratch / "d/e/f").write_text("f")
        (scratch / "l").symlink_to("../secret")
        (scratch / "m").symlink_to("d")
        (scratch / "o").symlink_to("o")
        os.mkfifo(scratch / "p")
        yield top / "stdout", scratch


def settings(data: bytes) -> None:
    """parallelize.toml: settings, or a UsageError."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "parallelize.toml").write_bytes(data)
        try:
            resolve({}, {}, Path(folder))
        except UsageError:
            return


def records(data: bytes) -> None:
    """Every record in S3 and the manifest's parts: read and written alike, or a DecodeError."""
    for kind in (Attempt, Result, Heartbeat, Run):
        try:
            record = kind.decode(data)
        except DecodeError:
            continue
        assert kind.decode(record.encode()) == record
    try:
        entries = decode_part(data)
    except DecodeError:
        return
    assert decode_part(encode_part(entries)) == entries


def dead_letter(data: bytes) -> None:
    """A dead letter: whatever it is, there is something to show."""
    body = _text(data)
    assert DeadLetter.decode(body).reason is not None


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        message, key, environment, user_data, stdout, settings, records, dead_letter,
    )
}  # fmt: skip


def _zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive_:
        for name in names:
            archive_.writestr(name, name * 20)
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive_.writestr(link, "job.sh")
    return file.getvalue()


_ATTEMPT = {
    "run": "r", "key": "k", "attempt": 1, "worker": "w", "started_at": "t", "finished_at": "t",
}  # fmt: skip
_CONFIG = {"run": "r", "bucket": "b", "queue_url": "q", "dead_letter_queue_url": "d"}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "message": (JobMessage(run="r", key="a/b", size=1).encode().encode(),),
    "key": (b"a/b.txt", "ü/界".encode(), b"a/../b"),
    "environment": (_zip("job.sh", "d/e/f"), _zip("../x"), _zip("/x")),
    "user_data": (json.dumps({**_CONFIG, "slots": "2x", "lease_seconds": 60}).encode(),),
    "stdout": (b"a\nd\n", b"./d/../a\n m\n", b"l\n", b"../secret\n", b"p\no\n.\n"),
    "settings": (
        b'schema = 1\n[run]\ncommand = "./job.sh"\ntimeout = "5m"\n[agent]\nlease = 60\n',
    ),
    "records": (
        json.dumps({**_ATTEMPT, "status": "failed", "cause": "command"}).encode(),
        json.dumps(
            {"worker": "w", "state": "busy", "started": 1, "seen": 2, "interval_seconds": 3}
        ).encode(),
        encode_part([]),
    ),
    "dead_letter": (DeadLetter(reason="r", worker="w", body="b").encode().encode(),),
}
"""Something that each target takes, to start from."""
