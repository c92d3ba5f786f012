"""The files of this machine that a run wants, beside those that runs share already.

What a run's manifest names stays where it is. Of the rest, what any run has sent is borrowed from
there, if it is still there once the run has named it; what is not there is sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from parallelize.runs.inputs import LocalInput
from parallelize.runs.known_contents import known_contents
from parallelize.runs.shared_inputs import SharedInputs
from parallelize.runs.uploads import Outgoing
from parallelize.transfers import Fingerprint, groups, holds, in_parallel
from parallelize_core.files import InputFile
from parallelize_core.store import ObjectInfo


@dataclass(frozen=True)
class Borrowed:
    """A file that some run has sent: the version that is there, and what to send if it goes."""

    version: InputFile
    file: Outgoing


@dataclass(frozen=True)
class SharedFiles:
    """Files by their versions: `uploads` are those that are to be sent."""

    versions: tuple[InputFile, ...]
    borrowed: tuple[Borrowed, ...]
    uploads: tuple[Outgoing, ...]


def shared_files(
    shared: SharedInputs, found: Sequence[LocalInput], known: Mapping[str, InputFile]
) -> SharedFiles:
    """Compare files of this machine with what is shared; `known` are those of the manifest."""
    contents = read_contents(found, {item.key for item in found})
    there = shared.find({content.sha256 for content in contents.values()})
    kept = dict(_kept(shared, contents, known, there))
    same = _same(shared, {k: c for k, c in contents.items() if k not in kept}, there)
    versions, borrowed, uploads = [], [], []
    for item in found:
        content = contents[item.key]
        file = Outgoing(item.key, item.path, "", content.size, content.sha256)
        if version := kept.get(item.key):
            versions.append(version)
            continue
        if one := same.get(content.sha256):
            version = as_version(shared, item.key, one)
            borrowed.append(Borrowed(version, file))
        else:
            version = InputFile(
                key=item.key, size=content.size, etag=content.etag, sha256=content.sha256
            )
            uploads.append(file)
        versions.append(version)
    return SharedFiles(tuple(versions), tuple(borrowed), tuple(uploads))


def as_version(shared: SharedInputs, name: str, upload: ObjectInfo) -> InputFile:
    """Return an upload as the input of that name."""
    stored = shared.place.relative(upload.key)
    return InputFile(key=name, size=upload.size, etag=upload.etag, stored=stored)


def read_contents(local: Sequence[LocalInput], compared: Collection[str]) -> dict[str, Fingerprint]:
    """Describe the content of those of some files that are to be `compared`, by their keys.

    Only what was written since it was last read is read.
    """
    asked = [item for item in local if item.key in compared]
    with known_contents() as known:
        found = {item.key: known.find(item.path) for item in asked}
        unread = groups([i for i in asked if found[i.key] is None], lambda item: item.size)
        for group in in_parallel(lambda some: [(i.key, known.learn(i.path)) for i in some], unread):
            found |= group
    return {key: content for key, content in found.items() if content}


def _kept(
    shared: SharedInputs,
    contents: Mapping[str, Fingerprint],
    known: Mapping[str, InputFile],
    there: Mapping[str, Sequence[ObjectInfo]],
) -> Iterator[tuple[str, InputFile]]:
    """Go through the files whose content is that of the manifest, and in its place."""
    for key, content in contents.items():
        file = known.get(key)
        if file is None or not file.stored.startswith(content.sha256):
            continue
        place = shared.place.key(file.stored)
        if any(item.key == place for item in there.get(content.sha256, ())):
            yield key, file.model_copy(update={"column": ""})


def _same(
    shared: SharedInputs,
    contents: Mapping[str, Fingerprint],
    there: Mapping[str, Sequence[ObjectInfo]],
) -> dict[str, ObjectInfo]:
    """Return an upload of each content that has one, by checksum."""
    wanted = {c.sha256: c for c in contents.values() if c.sha256 in there}

    def find(content: Fingerprint) -> tuple[str, ObjectInfo | None]:
        uploads = sorted(there[content.sha256], key=lambda item: item.key)
        return content.sha256, next((o for o in uploads if holds(shared.store, o, content)), None)

    found = in_parallel(find, wanted.values())
    return {sha256: upload for sha256, upload in found if upload}
