"""ListObjectsV2: keys in byte order, page by page, each folder as one entry.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from parallelize.local.s3.answers import S3Error, iso, text, url
from parallelize.local.s3.objects import Listed, Objects

PAGE_KEYS = 1000
SURROGATES = range(0xD800, 0xE000)


@dataclass
class Page:
    """A page of a listing; the next one starts after `last`, if there is `more`."""

    objects: list[Listed] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    last: str = ""
    more: bool = False

    @property
    def count(self) -> int:
        """How many entries it has."""
        return len(self.objects) + len(self.folders)


def read_page(objects: Objects, bucket: str, query: Mapping[str, str]) -> Page:
    """Return the page that a request asks for."""
    limit = _limit(query)
    page = Page()
    for entry in _entries(objects, bucket, query, limit + 1):
        if page.count == limit:
            page.more = limit > 0
            break
        if isinstance(entry, str):
            page.folders.append(entry)
            page.last = entry
        else:
            page.objects.append(entry)
            page.last = entry.key
    return page


def _entries(
    objects: Objects, bucket: str, query: Mapping[str, str], limit: int
) -> Iterator[Listed | str]:
    """Yield objects below the prefix, and each folder once."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start, inclusive = _start(query, prefix, delimiter)
    while True:
        folder, seen = None, 0
        for listed in objects.after(bucket, start, inclusive=inclusive, limit=limit):
            if not listed.key.startswith(prefix):
                return
            seen += 1
            folder = _folder(listed.key, len(prefix), delimiter)
            if folder is not None:
                break
            yield listed
            start, inclusive = listed.key, False
        if folder is not None:
            yield folder
            start, inclusive = _behind(folder), True
        elif seen < limit:
            return


def _start(query: Mapping[str, str], prefix: str, delimiter: str) -> tuple[str, bool]:
    """Return where a listing starts, and whether it includes that key."""
    after = query.get("start-after", "")
    if token := query.get("continuation-token", ""):
        after = _decode(token)
        if delimiter and after.endswith(delimiter) and len(after) > len(prefix):
            # The last entry may have been a folder: skip everything in it.
            return _behind(after), True
    return (after, False) if after >= prefix and after else (prefix, True)


def _folder(key: str, start: int, delimiter: str) -> str | None:
    cut = key.find(delimiter, start) if delimiter else -1
    return None if cut < 0 else key[: cut + len(delimiter)]


def _behind(folder: str) -> str:
    """Return the first string that sorts after everything that begins with `folder`."""
    following = ord(folder[-1]) + 1
    return folder[:-1] + chr(SURROGATES.stop if following in SURROGATES else following)


def _limit(query: Mapping[str, str]) -> int:
    try:
        limit = int(query.get("max-keys") or PAGE_KEYS)
    except ValueError:
        limit = -1
    if limit < 0:
        raise S3Error(400, "InvalidArgument", "max-keys is not a number of keys")
    return min(limit, PAGE_KEYS)


def render(bucket: str, query: Mapping[str, str], page: Page) -> str:
    """Return a page in the form of S3's XML."""
    encode = url if query.get("encoding-type") == "url" else text
    head = (
        f"<Name>{bucket}</Name><Prefix>{encode(query.get('prefix', ''))}</Prefix>"
        f"<KeyCount>{page.count}</KeyCount><MaxKeys>{_limit(query)}</MaxKeys>"
        f"<IsTruncated>{'true' if page.more else 'false'}</IsTruncated>"
    )
    parts = [head]
    if query.get("encoding-type") == "url":
        parts.append("<EncodingType>url</EncodingType>")
    if query.get("delimiter"):
        parts.append(f"<Delimiter>{encode(query['delimiter'])}</Delimiter>")
    if query.get("start-after"):
        parts.append(f"<StartAfter>{encode(query['start-after'])}</StartAfter>")
    if query.get("continuation-token"):
        parts.append(f"<ContinuationToken>{query['continuation-token']}</ContinuationToken>")
    if page.more:
        parts.append(f"<NextContinuationToken>{_encode(page.last)}</NextContinuationToken>")
    parts += [_object(one, encode) for one in page.objects]
    parts += [
        f"<CommonPrefixes><Prefix>{encode(one)}</Prefix></CommonPrefixes>" for one in page.folders
    ]
    return "".join(parts)


def _object(listed: Listed, encode: Callable[[str], str]) -> str:
    return (
        f"<Contents><Key>{encode(listed.key)}</Key><LastModified>{iso(listed.modified)}"
        f"</LastModified><ETag>&quot;{listed.etag}&quot;</ETag><Size>{listed.size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def _encode(key: str) -> str:
    return urlsafe_b64encode(key.encode()).decode()


def _decode(token: str) -> str:
    try:
        return urlsafe_b64decode(token).decode()
    except ValueError:
        raise S3Error(400, "InvalidArgument", "the continuation token is not valid") from None
