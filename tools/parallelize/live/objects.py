"""S3: conditional writes, whole and multipart, refusals, missing objects, deletion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parallelize import bucket as buckets
from parallelize.live.redaction import NOBODY
from parallelize.live.trial import Kind, Seen, Trial
from parallelize_core.store import IF_ABSENT, Condition, Store

CHECK = "objects"


def bucket_name(trial: Trial) -> str:
    """Return the name of the bucket that is created for the probe."""
    return f"parallelize-{trial.run}"


def probe(trial: Trial) -> Iterator[Seen]:
    """Try what the store relies on, in a bucket created for it."""
    name = bucket_name(trial)
    # Other servers reject a bucket's configuration that has tags and no region.
    tags = {} if trial.context.elsewhere else trial.tags
    buckets.create(trial.client("s3"), name, trial.context.region, tags)
    store = trial.context.clients.store(name)
    yield write_whole(trial, store)
    yield write_in_parts(trial, name)
    yield from look(trial, name)
    yield remove(trial, store)


def key_of(trial: Trial, name: str) -> str:
    """Return a key of the run."""
    return f"runs/{trial.run}/{name}"


def write_whole(trial: Trial, store: Store) -> Seen:
    """Write if the key is free, and if the object is still the one that was read."""
    key = key_of(trial, "whole")
    first = store.put(key, b"one", IF_ABSENT)
    again = store.put(key, b"two", IF_ABSENT)
    changed = store.put(key, b"three", Condition(etag=first)) if first else None
    late = store.put(key, b"four", Condition(etag=first)) if first else None
    absent = store.put(key_of(trial, "absent"), b"five", Condition(etag="0" * 32))
    good = bool(first and changed) and again is late is absent is None
    told = "all as promised" if good else "not all as promised"
    return Seen(CHECK, good, f"conditional writes: {told}")


def write_in_parts(trial: Trial, bucket: str) -> Seen:
    """Complete two uploads to a free key: the second is refused, and aborted."""
    key = key_of(trial, "parts")
    codes = [_upload(trial, {"Bucket": bucket, "Key": key}) for _ in range(2)]
    good = codes == ["", "PreconditionFailed"]
    told = codes[1] or "not refused"
    return Seen(CHECK, good, f"a second multipart upload to a key: {codes[0] or told}")


def _upload(trial: Trial, place: dict[str, Any]) -> str:
    id_ = trial.call("s3", "create_multipart_upload", **place)["UploadId"]
    named = {**place, "UploadId": id_}
    part = trial.call("s3", "upload_part", **named, PartNumber=1, Body=b"part")
    whole = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    code = trial.code(
        "s3", "complete_multipart_upload", **named, MultipartUpload=whole, IfNoneMatch="*"
    )
    if code:
        trial.code("s3", "abort_multipart_upload", **named)
    return code


def look(trial: Trial, bucket: str) -> Iterator[Seen]:
    """Ask for an object that does not exist, and for a bucket as if it were somebody else's."""
    place = {"Bucket": bucket, "Key": key_of(trial, "nothing")}
    codes = (trial.code("s3", "head_object", **place), trial.code("s3", "get_object", **place))
    yield Seen(CHECK, codes == ("404", "NoSuchKey"), f"a missing key: {', '.join(codes)}")
    there = {"Bucket": bucket, "Key": key_of(trial, "whole")}
    code = trial.code("s3", "get_object", **there, ExpectedBucketOwner=NOBODY)
    told = code or "not refused"
    yield Seen(CHECK, code == "AccessDenied", f"a bucket with an unexpected owner: {told}")


def remove(trial: Trial, store: Store) -> Seen:
    """Delete an object that is unchanged since it was read, and one that does not exist."""
    key = key_of(trial, "whole")
    found = store.head(key)
    kept = not store.delete_version(key, "0" * 32)
    gone = found is not None and store.delete_version(key, found.etag)
    store.delete([key, key_of(trial, "parts")])
    good = kept and gone and store.head(key) is None
    return Seen(CHECK, good, f"deletion: {'only what was intended' if good else 'not as promised'}")


def find(trial: Trial) -> list[str]:
    """Return the bucket, if it exists."""
    name = bucket_name(trial)
    return [name] if buckets.exists(trial.client("s3"), name) else []


def delete(trial: Trial, bucket: str) -> None:
    """Empty the bucket, including incomplete uploads, and delete it."""
    for upload in trial.call("s3", "list_multipart_uploads", Bucket=bucket).get("Uploads", ()):
        named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        trial.code("s3", "abort_multipart_upload", Bucket=bucket, **named)
    store = trial.context.clients.store(bucket)
    store.delete(item.key for item in store.list(""))
    trial.code("s3", "delete_bucket", Bucket=bucket)


KIND = Kind("bucket", find, delete)
