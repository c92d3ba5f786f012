"""Which S3 objects are the inputs: a prefix, a pattern, one object, or a list of names.

    s3://bucket/prefix/          all below it
    s3://bucket/prefix/*.csv     as for files: `*` within a folder, `**` through folders
    s3://bucket/prefix/a.csv     that object
    @list.txt                    names of objects in one bucket

Keys are relative to the prefix, to what comes before the pattern, or to the object's folder; those
of a list, which may grow, are relative to the bucket itself. Objects are only read. Others may own
them, and they cannot be renamed here, so one that cannot be an input is reported and does not block
the rest.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from parallelize.bulk import head_each
from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.runs.inputs.input_rules import NO_RULES, InputRules
from parallelize.runs.inputs.local_inputs import RUN, S3, Refused, listed_names, no_inputs, refusal
from parallelize.runs.inputs.others_buckets import reading
from parallelize.spool import Row, Spooled
from parallelize_core import keys
from parallelize_core.errors import UsageError
from parallelize_core.layout import Location
from parallelize_core.manifest import Entry
from parallelize_core.store import ObjectInfo, Store

AUTO = "auto"
"""Stands for the run's own bucket in the settings."""


class Selection(NamedTuple):
    """What is meant: all keys below `location`, those that match, or the named ones."""

    spec: str
    location: Location
    pattern: re.Pattern[str] | None = None
    named: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    """Prefixes of the bucket in which runs store what they make."""


class RemoteFound(NamedTuple):
    """The inputs, what was left out, and what cannot be an input."""

    entries: Spooled[Entry]
    left_out: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()


def is_chained(spec: str) -> bool:
    """Whether `spec` names the outputs of another run."""
    return spec.startswith(RUN)


def is_remote(spec: str, folder: Path) -> bool:
    """Whether the inputs are already in S3; of a list, the first name tells."""
    if spec.startswith("@"):
        return next(iter(listed_names(spec, folder)), "").startswith(S3)
    return spec.startswith((S3, RUN))


def select(context: Context) -> Selection:
    """Return the inputs in S3 that the settings mean; UsageError if they cannot mean any.

    A name that is neither a folder's nor a pattern's is looked up.
    """
    spec = context.settings.run.inputs
    chosen = _list(spec, context) if spec.startswith("@") else _one_name(spec, context)
    return Selection(spec, chosen.location, chosen.pattern, chosen.named, _apart(context, chosen))


def find_remote(store: Store, chosen: Selection, rules: InputRules = NO_RULES) -> RemoteFound:
    """List the inputs; raise UsageError if there are none, or if a named one cannot be an input."""
    entries = spooled_entries()
    left_out, refused = [], []
    for item in _objects(store, chosen):
        key = chosen.location.relative(item.key)
        named = bool(chosen.named)
        if _is_no_content(item) or item.key.startswith(chosen.apart or ("\0",)):
            continue
        if chosen.pattern and not chosen.pattern.fullmatch(key):
            continue
        if rules.leaves_out(key, named=named):
            left_out.append(key)
        elif why := _why_not(key):
            refused.append(Refused(key, why))
        else:
            entries.append(Entry(key=key, size=item.size, etag=item.etag))
    if refused and (chosen.named or not entries):
        raise refusal(refused)
    if not entries:
        raise no_inputs(chosen.spec, left_out, "check the name; a prefix ends in /")
    return RemoteFound(entries, tuple(left_out), tuple(refused))


def spooled_entries() -> Spooled[Entry]:
    """Return an empty list of jobs with a single file each."""
    return Spooled(entry_row, entry_of_row)


def entry_row(entry: Entry) -> Row:
    """Return a job with a single file as a row."""
    return entry.key, entry.size, entry.etag, entry.stored, entry.sha256


def entry_of_row(key: str, size: int, etag: str, stored: str, sha256: str) -> Entry:
    """Return the job of a row."""
    return Entry(key=key, size=size, etag=etag, stored=stored, sha256=sha256)


def _objects(store: Store, chosen: Selection) -> Iterable[ObjectInfo]:
    if not chosen.named:
        return store.list(chosen.location.prefix)
    return _heads(store, [chosen.location.key(key) for key in chosen.named])


def _heads(store: Store, keys: Sequence[str]) -> Iterator[ObjectInfo]:
    for key, found in zip(keys, head_each(store, keys), strict=True):
        if found is None:
            raise UsageError(
                f"there is no object {S3}{store.bucket}/{shown(key)}", fix="check its name"
            )
        yield found


def _is_no_content(item: ObjectInfo) -> bool:
    """Whether it is one of the empty objects that the S3 console creates as folders."""
    return item.key.endswith("/") and item.size == 0


def _why_not(key: str) -> str | None:
    if key.endswith("/"):
        return "it has content, but its name ends in a slash, which no file name can"
    return keys.refusal(key)


def _one_name(spec: str, context: Context) -> Selection:
    bucket, key = _split(spec, context)
    if key.endswith("/") and glob.has_magic(key):
        return _pattern(spec, bucket, f"{key}**")
    if key and not key.endswith("/"):
        with reading(context, bucket):
            is_object = _is_object(spec, context.store_of(bucket), key)
        if is_object:
            folder, slash, name = key.rpartition("/")
            return Selection(spec, Location(bucket, folder + slash), None, (name,))
        if glob.has_magic(key):
            return _pattern(spec, bucket, key)
        key += "/"
    return Selection(spec, Location(bucket, key))


def _is_object(spec: str, store: Store, key: str) -> bool:
    """Whether a name is an object's; UsageError if it is also a folder's."""
    there = store.head(key)
    if there is None or not any(True for _ in store.list(f"{key}/")):
        return there is not None
    if not there.size:
        return False  # an empty object, with which some programs make a folder
    raise UsageError(
        f"{escape(spec)} is both an object and a folder of objects",
        None,
        f"for the folder: {escape(spec)}/; for the object: a list with that one line",
    )


def _pattern(spec: str, bucket: str, key: str) -> Selection:
    parts = key.split("/")
    magic = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    prefix = "".join(f"{part}/" for part in parts[:magic])
    return Selection(spec, Location(bucket, prefix), _expression(parts[magic:]))


def _expression(parts: list[str]) -> re.Pattern[str]:
    """Translate a glob's parts; as on disk, only what starts with a dot matches dotfiles."""
    *folders, last = parts
    made = [r"(?:(?!\.)[^/]+/)*" if part == "**" else f"{_part(part)}/" for part in folders]
    end = r"(?:(?!\.)[^/]+/)*(?!\.)[^/]+/?" if last == "**" else _part(last)
    return re.compile("".join(made) + end, re.DOTALL)


def _part(part: str) -> str:
    words = re.findall(r"\[!?\]?[^]]*\]|.", part, re.DOTALL)
    hidden = "" if part.startswith(".") else r"(?!\.)"
    return hidden + "".join(map(_word, words))


def _word(word: str) -> str:
    if len(word) == 1:
        return {"*": "[^/]*", "?": "[^/]"}.get(word, re.escape(word))
    inside = word[1:-1].replace("\\", r"\\").replace("[", r"\[").replace("^", r"\^")
    return f"[^/{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"


def _list(spec: str, context: Context) -> Selection:
    names = list(dict.fromkeys(listed_names(spec, context.folder)))
    if local := [name for name in names if not name.startswith(S3)]:
        raise UsageError(
            f"the list {escape(spec[1:])} has names of S3, and {shown(local[0], 40)}", None,
            "begin each line with s3://, or make two lists and a run of each",
        )  # fmt: skip
    places = [_split(name, context) for name in names]
    buckets = sorted({bucket for bucket, _ in places})
    if len(buckets) > 1:
        raise UsageError(
            f"the list {escape(spec[1:])} names objects of {len(buckets)} buckets",
            ", ".join(map(escape, buckets)), "a run reads from one: make a list for each",
        )  # fmt: skip
    return Selection(spec, Location(buckets[0]), None, tuple(key for _, key in places))


def _split(name: str, context: Context) -> tuple[str, str]:
    bucket, _, key = name.removeprefix(S3).partition("/")
    if not bucket:
        raise UsageError(f'"{escape(name)}" is not an S3 location', fix="write s3://bucket/prefix/")
    return (context.bucket if bucket == AUTO else bucket), key


def _apart(context: Context, chosen: Selection) -> tuple[str, ...]:
    """Return the prefixes below the inputs that hold what runs make.

    Raises UsageError if outputs are to go where the inputs are.
    """
    places = [Location(context.bucket, context.base.key("runs", ""))]
    if to := context.settings.output.to:
        output = Location(*_split(to if to.endswith("/") else f"{to}/", context))
        if output == chosen.location:
            raise UsageError(
                f"the outputs would lie among the inputs, in {escape(output.uri)}",
                "output.to is the place of run.inputs",
                "give output.to another prefix; it may lie below this one",
            )
        places.append(output)
    if chosen.named:
        return ()
    return tuple(place.prefix for place in places if _is_below(place, chosen.location))


def _is_below(place: Location, other: Location) -> bool:
    same = place.bucket == other.bucket
    return same and place != other and place.prefix.startswith(other.prefix)
