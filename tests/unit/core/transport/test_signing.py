"""Signatures over days and keys; that they are botocore's is tested with the requests."""

from __future__ import annotations

from parallelize_core.transport.signing import EMPTY_SHA256, Keys, Signer, Stamp

DAY_SECONDS = 24 * 60 * 60


def signed(signer: Signer, secret: str, seconds: float) -> str:
    headers = [("host", "bucket"), ("x-amz-date", "x")]
    keys, stamp = Keys("AKID", secret), Stamp.at(seconds)
    return signer.authorization("GET", "/key", "", headers, EMPTY_SHA256, keys, stamp)


def test_a_stamp_is_in_utc() -> None:
    assert Stamp.at(0.9) == Stamp("19700101T000000Z", "19700101")


def test_a_key_that_is_kept_is_that_of_the_day_and_of_the_secret() -> None:
    signer = Signer("s3", "eu-west-1")
    for secret, seconds in (("a", 0), ("a", DAY_SECONDS), ("b", DAY_SECONDS), ("a", 0)):
        fresh = Signer("s3", "eu-west-1")
        assert signed(signer, secret, seconds) == signed(fresh, secret, seconds)
