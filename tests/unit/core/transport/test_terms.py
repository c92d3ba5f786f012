"""Requests of the event loop say what a bucket's owner asks for, and nothing of it elsewhere."""

from __future__ import annotations

import pytest

from parallelize_core.bucket_terms import Terms
from parallelize_core.store import ALWAYS
from parallelize_core.transport.client import Request
from parallelize_core.transport.objects import ObjectRequests, Payload

TERMS = Terms(("theirs",), {"ours": "arn:key"})
PAYER = ("x-amz-request-payer", "requester")
KEY = ("x-amz-server-side-encryption-aws-kms-key-id", "arn:key")
BODY = Payload(b"x", "", "digest")


def all_requests(bucket: str) -> dict[str, Request]:
    requests = ObjectRequests(bucket, TERMS)
    return {
        "get": requests.get("k"), "head": requests.head("k"), "page": requests.page("", "", "", ""),
        "put": requests.put("k", BODY, ALWAYS, None), "begin": requests.begin("k", None),
        "part": requests.part("k", "u", 1, BODY), "delete": requests.delete("k"),
    }  # fmt: skip


@pytest.mark.parametrize("name", all_requests("theirs"))
def test_every_request_to_a_bucket_whose_readers_pay_says_that_they_do(name: str) -> None:
    assert PAYER in all_requests("theirs")[name].headers
    assert PAYER not in all_requests("ours")[name].headers


@pytest.mark.parametrize(("name", "named"), [("put", True), ("begin", True), ("part", False)])
def test_what_makes_an_object_names_its_key(name: str, named: bool) -> None:
    assert (KEY in all_requests("ours")[name].headers) is named
    assert KEY not in all_requests("theirs")[name].headers
