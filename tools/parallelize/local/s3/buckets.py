"""Buckets and their configuration, which is stored and returned exactly as it was sent.

Policies, lifecycle rules and encryption have no effect here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from xml.etree import ElementTree

from parallelize.local.disk import Disk
from parallelize.local.http import Request, Response
from parallelize.local.records import REGION
from parallelize.local.s3.answers import S3Error, iso, xml

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

ABSENT = {
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "ownershipControls": "OwnershipControlsNotFoundError",
    "policy": "NoSuchBucketPolicy",
    "tagging": "NoSuchTagSet",
    "cors": "NoSuchCORSConfiguration",
    "encryption": "",
    "versioning": "",
    "location": "",
}
"""A bucket's configurations, and S3's error if one is not set; empty where there is a default."""

OWNERSHIP = "x-amz-object-ownership"

_CLOSED = "".join(
    f"<{name}>true</{name}>"
    for name in (
        "BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets",
    )
)  # fmt: skip

_ENCRYPTION = (
    "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
    "</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule>"
)


class Buckets:
    """All buckets."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._regions: dict[str, str] = dict(
            disk.execute("select name, region from buckets").fetchall()
        )

    def check(self, name: str) -> None:
        """Raise S3Error if there is no such bucket."""
        if name not in self._regions:
            raise S3Error(404, "NoSuchBucket")

    def list(self, request: Request) -> Response:
        """Return all of them."""
        if request.method != "GET":
            raise S3Error(405, "MethodNotAllowed")
        rows = self._disk.execute("select name, created from buckets order by name")
        names = "".join(
            f"<Bucket><Name>{name}</Name><CreationDate>{iso(created)}</CreationDate></Bucket>"
            for name, created in rows
        )
        return xml("ListAllMyBucketsResult", f"<Buckets>{names}</Buckets>")

    def handle(self, request: Request, name: str, query: Mapping[str, str]) -> Response:
        """Answer a request about a bucket itself."""
        setting = next((one for one in ABSENT if one in query), None)
        if setting:
            self.check(name)
            return self._setting(request, name, setting)
        if query.keys() - {"x-id"}:
            raise S3Error(501, "NotImplemented")
        match request.method:
            case "PUT":
                return self._create(request, name)
            case "HEAD":
                self.check(name)
                return Response(headers=(("x-amz-bucket-region", self._regions[name]),))
            case "DELETE":
                return self._delete(name)
        raise S3Error(501, "NotImplemented")

    def _create(self, request: Request, name: str) -> Response:
        if not NAME.fullmatch(name):
            raise S3Error(400, "InvalidBucketName")
        if name not in self._regions:
            region = _location(request.body) or REGION
            owner = request.headers.get(OWNERSHIP, "BucketOwnerEnforced")
            with self._disk.transaction():
                self._disk.execute(
                    "insert into buckets values (?, ?, ?)", (name, region, time.time())
                )
                self._set(name, "ownershipControls", _ownership(owner).body)
                self._set(name, "publicAccessBlock", _closed().body)
            self._regions[name] = region
        return Response(headers=(("Location", f"/{name}"),))

    def _delete(self, name: str) -> Response:
        self.check(name)
        full = "select 1 from objects where bucket = ? limit 1"
        if self._disk.execute(full, (name,)).fetchone():
            raise S3Error(409, "BucketNotEmpty")
        with self._disk.transaction():
            self._disk.execute("delete from buckets where name = ?", (name,))
            self._disk.execute("delete from settings where bucket = ?", (name,))
        del self._regions[name]
        return Response(204)

    def _setting(self, request: Request, bucket: str, setting: str) -> Response:
        place = (bucket, setting)
        match request.method:
            case "PUT" if setting == "versioning":
                raise S3Error(501, "NotImplemented")
            case "PUT":
                self._set(bucket, setting, request.body)
                return Response()
            case "DELETE":
                self._disk.execute("delete from settings where bucket = ? and name = ?", place)
                return Response(204)
        row = self._disk.execute(
            "select body from settings where bucket = ? and name = ?", place
        ).fetchone()
        return Response(body=row[0]) if row else self._unset(bucket, setting)

    def _set(self, bucket: str, setting: str, body: object) -> None:
        self._disk.execute(
            "insert or replace into settings values (?, ?, ?)", (bucket, setting, body)
        )

    def _unset(self, bucket: str, setting: str) -> Response:
        region = self._regions[bucket]
        match setting:
            case "encryption":
                return xml("ServerSideEncryptionConfiguration", _ENCRYPTION)
            case "versioning":
                return xml("VersioningConfiguration", "")
            case "location":
                return xml("LocationConstraint", "" if region == REGION else region)
        raise S3Error(404, ABSENT[setting])


def _ownership(owner: str) -> Response:
    rule = f"<Rule><ObjectOwnership>{owner}</ObjectOwnership></Rule>"
    return xml("OwnershipControls", rule)


def _closed() -> Response:
    """Return what S3 sets for each new bucket since April 2023."""
    return xml("PublicAccessBlockConfiguration", _CLOSED)


def _location(body: bytes) -> str:
    if not body:
        return ""
    try:
        configuration = ElementTree.fromstring(body)  # noqa: S314 - the owner's own
    except ElementTree.ParseError:
        raise S3Error(400, "MalformedXML") from None
    return configuration.findtext("{*}LocationConstraint", "")
