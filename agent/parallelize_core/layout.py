"""Where everything of a run is in S3: pure functions from names to keys.

s3://BUCKET/PREFIX/runs/<run>/run.json
                             /origin.json
                             /manifest/<part>.jsonl.gz, <part>.cursor.json
                             /corrected/<part>.jsonl.gz
                             /recipe/<sha256>.json
                             /superseded/<id>.jsonl.gz
                             /input/<key>
                             /environment/<sha256>.zip
                             /files/<sha256>.jsonl.gz
                             /named/<sha256>.gz
                             /image/<sha256>.tar
                             /output/<folder of key>/<name printed>
                             /result/<key>.json
                             /segment/<worker>.<start>.<number>.jsonl.gz
                             /failed/<key>
                             /silent/<key>
                             /log/<key>/<attempt>.<worker>.<time>.json, .log
                             /claim/<key>.json
                             /checkpoint/<hash of key>/<worker>.<time>.tar, marker.json
                             /agent/<worker>.json
                             /setup/<worker>.<environment>.log
                             /notify.json
                             /told/<end>.json
                             /merge.json
                             /merge/<sha256>.jsonl

Shared by runs, in a folder whose name no run can have:

s3://BUCKET/PREFIX/runs/.shared/content/<sha256>.gz
                               /withdrawn/<sha256>/<etag>.gz
                               /input/<sha256>/<mark>
                               /doomed/<sha256>/<mark>
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from parallelize_core import keys
from parallelize_core.errors import UsageError

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}(?<!-dead)")
"""A run's name is also part of two queue names, which SQS limits to 80 such characters.

The queue of a run "x-dead" would be the dead-letter queue of the run "x".
"""


@dataclass(frozen=True)
class Location:
    """A bucket and a prefix; the prefix is empty or ends in a slash."""

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read `s3://bucket/prefix`; raise UsageError if it is not one."""
        scheme, _, rest = uri.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise UsageError(f'"{uri}" is not an S3 location', fix="write s3://bucket/prefix/")
        return cls(bucket, prefix if not prefix or prefix.endswith("/") else prefix + "/")

    @property
    def uri(self) -> str:
        """The location as `s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}"

    def key(self, *parts: str) -> str:
        """Return the S3 key of `parts` below this location."""
        return self.prefix + "/".join(parts)

    def below(self, *parts: str) -> Location:
        """Return the location of the folder `parts` below this one."""
        return Location(self.bucket, self.key(*parts) + "/")

    def relative(self, key: str) -> str:
        """Return what follows the prefix in `key`."""
        return key.removeprefix(self.prefix)


def shared_by_runs(base: Location) -> Location:
    """Return where the runs below `base` keep shared objects; no run has such a name."""
    return base.below("runs", ".shared")


def shared_inputs(base: Location) -> Location:
    """Return where `prep` puts inputs; a run of a former version has its own folder."""
    return shared_by_runs(base).below("input")


@dataclass(frozen=True)
class RunLayout:
    """The keys of one run below `base`, in the bucket of `base`."""

    base: Location
    run: str

    @cached_property
    def root(self) -> Location:
        """Everything of the run is below here."""
        return self.base.below("runs", self.run)

    @property
    def run_json(self) -> str:
        """The record of the run itself."""
        return self.root.key("run.json")

    @property
    def origin(self) -> str:
        """Whose run it is: the first object of a run, there before run.json."""
        return self.root.key("origin.json")

    @property
    def input(self) -> Location:
        """Where a run of a former version has its uploaded inputs; see `shared_inputs`."""
        return self.root.below("input")

    @property
    def output(self) -> Location:
        """Where outputs go unless the run names another place."""
        return self.root.below("output")

    @property
    def manifest(self) -> Location:
        """The folder of the manifest's parts and cursors."""
        return self.root.below("manifest")

    @cached_property
    def results(self) -> Location:
        """The folder of the results."""
        return self.root.below("result")

    @property
    def segments(self) -> Location:
        """The folder of the segments, from which readers take many results at a time."""
        return self.root.below("segment")

    def segment(self, worker: str, started: int, number: int) -> str:
        """Return the key of a segment of a worker that started then, in milliseconds since 1970."""
        return self.segments.key(f"{worker}.{started}.{number:04d}.jsonl.gz")

    @property
    def merge(self) -> str:
        """The record of the last job over all results, once it was sent."""
        return self.root.key("merge.json")

    def merge_list(self, sha256: str) -> str:
        """Return the key of the list of outputs with this checksum, which a merge gets."""
        return self.root.key("merge", f"{sha256}.jsonl")

    @property
    def agents(self) -> Location:
        """The folder of the heartbeats."""
        return self.root.below("agent")

    @property
    def corrections(self) -> Location:
        """The folder of the corrections of inputs whose jobs had failed."""
        return self.root.below("corrected")

    def correction(self, part: int) -> str:
        """Return the key of some corrected entries of the manifest; parts count from 0."""
        return self.corrections.key(f"{part:06d}.jsonl.gz")

    def recipe(self, digest: str) -> str:
        """Return the key of the parts of a recipe, for `explain`."""
        return self.root.key("recipe", f"{digest}.json")

    @property
    def superseded(self) -> Location:
        """The folder of results that were removed so that their jobs are done again."""
        return self.root.below("superseded")

    def manifest_part(self, part: int) -> str:
        """Return the key of a part of the manifest; parts count from 0."""
        return self.manifest.key(f"{part:06d}.jsonl.gz")

    def cursor(self, part: int) -> str:
        """Return the key of the record of how far a part has been sent to the queue."""
        return self.manifest.key(f"{part:06d}.cursor.json")

    def environment(self, sha256: str) -> str:
        """Return the key of an environment zip."""
        return self.root.key("environment", f"{sha256}.zip")

    @property
    def file_lists(self) -> Location:
        """The folder of the lists of files whose contents are shared with other runs."""
        return self.root.below("files")

    def file_list(self, sha256: str) -> str:
        """Return the key of the list of an environment's files."""
        return self.file_lists.key(f"{sha256}.jsonl.gz")

    @property
    def named(self) -> Location:
        """The folder of the lists of shared inputs that the run has named."""
        return self.root.below("named")

    def image(self, sha256: str) -> str:
        """Return the key of an image that is in no registry."""
        return self.root.key("image", f"{sha256}.tar")

    def result(self, key: str) -> str:
        """Return the key of the result of the input `key`."""
        return keys.shorten(self.results.key(f"{key}.json"))

    @cached_property
    def failures(self) -> Location:
        """The folder of the marks that say which results to read for failures."""
        return self.root.below("failed")

    def failure(self, key: str) -> str:
        """Return the key of the mark that is made just before a failed result is written.

        A listing shows no contents; the marks let `status` tell failed from done without
        reading every result. A mark means nothing unless the result itself says failed.
        """
        return keys.shorten(self.failures.key(key))

    @property
    def silences(self) -> Location:
        """The folder of the marks that say which jobs may have succeeded without any output."""
        return self.root.below("silent")

    def silence(self, key: str) -> str:
        """Return the key of the mark that is made just before a result without outputs is written.

        As with `failure`, only the result itself says whether that is so.
        """
        return keys.shorten(self.silences.key(key))

    @property
    def attempts(self) -> Location:
        """The folder of the records and logs of all attempts at all inputs."""
        return self.root.below("log")

    def logs(self, key: str) -> str:
        """Return the prefix of the records and logs of all attempts at the input `key`."""
        return keys.shorten(self.attempts.key(key), keys.MAX_S3_KEY_BYTES - 128) + "/"

    def attempt(self, key: str, attempt: int, worker: str, started_at: str) -> str:
        """Return the key of the record of one attempt; its log has `.log` for `.json`.

        It contains the time, because a retried job counts its attempts from 1 again, perhaps on the
        same worker.
        """
        stamp = started_at.replace("-", "").replace(":", "")
        return f"{self.logs(key)}{attempt}.{worker}.{stamp}.json"

    def claim(self, key: str) -> str:
        """Return the key of the claim of a job that outlives its message."""
        return keys.shorten(self.root.key("claim", f"{key}.json"))

    def checkpoint(self, key: str) -> Location:
        """Return the folder of a job's checkpoint; a hash, so it never contains another's."""
        return self.root.below("checkpoint", hashlib.sha256(key.encode()).hexdigest())

    @property
    def setups(self) -> Location:
        """The folder of the output of set-ups."""
        return self.root.below("setup")

    def setup_log(self, worker: str, environment: str) -> str:
        """Return the key of the output of an environment's set-up on a worker."""
        return self.setups.key(f"{worker}.{environment}.log")

    @property
    def notify(self) -> str:
        """How people are notified of the end of the run."""
        return self.root.key("notify.json")

    def delivery(self, end: str) -> str:
        """Return the key of the record that people were notified of an end of the run."""
        return self.root.key("told", f"{end}.json")

    def heartbeat(self, worker: str) -> str:
        """Return the key of an agent's heartbeat."""
        return self.agents.key(f"{worker}.json")


def output_name(template: str, run: str, key: str, printed: str, folder: str | None = None) -> str:
    """Return where an output lies below the run's output location.

    `printed` is the path below the scratch folder. The template's {dir} is `folder`; by default
    that of the input `key`, so outputs have the inputs' folder structure. {hash} is made from the
    key.
    """
    above = posixpath.dirname(key) if folder is None else folder
    folder, name = posixpath.split(posixpath.join(above, printed))
    stem, suffix = posixpath.splitext(name)
    made = template.format(dir=folder, stem=stem, suffix=suffix, run=run, hash=key_hash(key))
    return made.lstrip("/")


def with_suffix(name: str, key: str, room_bytes: int = keys.MAX_S3_KEY_BYTES) -> str:
    """Return an output name that no other input can have made, of at most `room_bytes`.

    The room is S3's limit for a key minus the prefix of the outputs. The name's last part stays a
    valid file name; a part that does not fit is cut off, and the hash then covers it, too.
    """
    folder, last = posixpath.split(name)
    stem, suffix = posixpath.splitext(last)
    made = posixpath.join(folder, f"{stem}-{key_hash(key)}{suffix}")
    if _fits(made, room_bytes):
        return made
    whole = f"{key}\0{name}"
    mark = f"-{key_hash(whole)}"
    while folder and _size(folder, "/", mark) > room_bytes:
        folder = posixpath.dirname(folder)
    room = min(keys.MAX_FILE_NAME_BYTES, room_bytes - _size(folder, "/" if folder else ""))
    suffix = suffix if _size(mark, suffix) <= room else ""
    return posixpath.join(folder, _cut(stem, room - _size(mark, suffix)) + mark + suffix)


def _fits(name: str, room_bytes: int) -> bool:
    return _size(name) <= room_bytes and _size(posixpath.basename(name)) <= keys.MAX_FILE_NAME_BYTES


def _size(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)


def _cut(text: str, size: int) -> str:
    return text.encode()[: max(0, size)].decode(errors="ignore")


def key_hash(key: str) -> str:
    """Return eight characters that represent an input key in names."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def check_run_name(run: str) -> str:
    """Return `run` if it can name a run; raise UsageError if it cannot."""
    if not RUN_NAME.fullmatch(run):
        raise UsageError(
            f'"{run}" cannot name a run',
            "use 1 to 60 letters, digits, - and _; begin with a letter or digit, and do not end in"
            " -dead",
            "choose another with --run, or run.name in parallelize.toml",
        )
    return run
