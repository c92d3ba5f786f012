"""Accounts of an organization that asks for more than a user's own permissions."""

import pytest
from tests.functional.fleet.calls import recorded
from tests.strict_aws.rules.organization import DemandedTags

from parallelize.queues import make_queues
from parallelize_core.clients import Clients
from parallelize_core.names import Names

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")

RUN = ("--run", "scans")


@pytest.fixture
def tagged(account, monkeypatch):
    """An account in which nothing is made without a cost center, and settings that name one."""
    account.strict.world.demanded_tags = frozenset({"cost-center"})
    monkeypatch.setenv("PARALLELIZE_AWS_TAGS", "cost-center=4711")
    return account


def test_what_lacks_the_organizations_tag_is_not_made(tagged, parallelize, monkeypatch):
    monkeypatch.delenv("PARALLELIZE_AWS_TAGS")
    tagged.prepare("scans")
    code, _, err = parallelize("launch", "1", *RUN)
    assert code == 4, err
    assert tagged.machines("scans") == []
    assert tagged.strict.refusals[DemandedTags.__name__]


@pytest.mark.parametrize(
    "words",
    ["setup --yes", "launch 2", "launch 2 --on-demand 1",
     "launch 2 --fleet persistent --autoscale", "doctor"],
)  # fmt: skip
def test_everything_is_made_with_the_organizations_tag(tagged, parallelize, words):
    tagged.prepare("scans")
    code, _, err = parallelize(*words.split(), *RUN)
    assert code == 0 or words == "doctor", err
    assert tagged.strict.refusals[DemandedTags.__name__] == 0


def test_queues_have_their_tags_from_the_first(tagged):
    ours = Clients.make(tagged.session).sqs
    queues = make_queues(ours, Names("new"), {"cost-center": "4711"})
    for queue in (queues.main, queues.dead):
        tags = tagged.client("sqs").list_queue_tags(QueueUrl=queue.url)["Tags"]
        assert tags["cost-center"] == "4711"


def test_the_bucket_that_prep_makes_has_the_tags_in_the_request(tagged, parallelize, tmp_path):
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "a.txt").write_text("a")
    words = ("prep", "--create-bucket", "--bucket", "fresh", "--command", "true", *RUN)
    with recorded() as calls:
        code, _, err = parallelize(*words)
    assert code == 0, err
    (made,) = [call for call in calls if call.operation == "CreateBucket"]
    tags = made.params["CreateBucketConfiguration"]["Tags"]
    assert tags == [{"Key": "cost-center", "Value": "4711"}]
