"""The results that a listing names, in little memory."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from parallelize.runs.results.versions import COMPACT_ABOVE, CompactVersions, versions

etags = st.one_of(
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.text("0123456789abcdefABCDEF-", max_size=40),
    st.text("0123456789abcdef ", min_size=32, max_size=32),
)


@given(st.dictionaries(st.text(max_size=20), etags), st.text(max_size=20))
def test_a_key_has_the_etag_that_was_listed(listed: dict[str, str], other: str) -> None:
    kept = CompactVersions(listed.items())
    assert len(kept) == len(listed)
    assert {key: kept[key] for key in listed} == listed
    assert (other in kept) == (other in listed)


def test_few_are_kept_as_they_are_and_many_compactly() -> None:
    pairs = [(str(n), hashlib.md5(str(n).encode()).hexdigest()) for n in range(COMPACT_ABOVE + 5)]
    assert versions(pairs[:10]) == dict(pairs[:10])
    many = versions(pairs)
    assert isinstance(many, CompactVersions)
    assert len(many) == len(pairs)
    assert all(many[key] == etag for key, etag in pairs)
