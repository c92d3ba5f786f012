"""A bucket in another region than the run's is refused by `prep`, before anything is sent."""

import pytest


@pytest.fixture
def elsewhere(account, tmp_path):
    """A bucket in us-west-2, and a project with an input."""
    place = {"LocationConstraint": "us-west-2"}
    account.session.client("s3", region_name="us-west-2").create_bucket(
        Bucket="scans-x", CreateBucketConfiguration=place
    )
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "a.txt").write_text("a")
    return account


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--create-bucket"]])
def test_both_regions_are_named_and_nothing_is_sent(elsewhere, parallelize, monkeypatch, more):
    monkeypatch.setenv("PARALLELIZE_RUN_COMMAND", "true")
    code, _, err = parallelize("prep", "--bucket", "scans-x", *more)
    assert code == 2
    assert "bucket scans-x is in us-west-2, but this run uses eu-west-1" in err
    assert "(region set in AWS_REGION)" in err
    assert elsewhere.client("s3").list_objects_v2(Bucket="scans-x")["KeyCount"] == 0
