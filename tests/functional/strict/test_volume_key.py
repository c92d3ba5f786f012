"""An account that encrypts its volumes with a key of its own."""

import json

import pytest
from tests.functional.fleet.conftest import BUCKET
from tests.functional.strict.test_second_stack import policies
from tests.strict_aws.rules.roles import NewServiceRole

from parallelize.context import open_context
from parallelize.operations.setup import ensure_grant
from parallelize.options import Common

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")

RUN = ("--run", "scans")
PERSISTENT = ("--fleet", "persistent", *RUN)


@pytest.fixture
def key(account):
    """A key of the account's own that encrypts volumes."""
    made = account.client("kms").create_key()["KeyMetadata"]["Arn"]
    account.strict.world.volume_key = made
    account.prepare("scans")
    return made


@pytest.fixture
def older(key, parallelize):
    """A stack that was made before the key was."""
    assert parallelize("setup", "--yes", "--set", "VolumeKeyArn=")[0] == 0


def act_as_people(account):
    """Let the caller have the stack's policies for people, and no other right."""
    found = policies(account, "parallelize")
    mine = account.session.get_credentials().access_key
    account.strict.world.policies[mine] = [found["submitter"], found["launcher"]]


def test_machines_of_who_may_not_use_the_key_end_and_launch_says_so(account, older, parallelize):
    act_as_people(account)
    code, _, err = parallelize("launch", "1", *RUN)
    assert code == 4
    assert "may not use the key of their volumes" in " ".join(err.split())


def test_setup_finds_the_key_and_lets_launchers_use_it(account, key, parallelize):
    code, _, err = parallelize("setup", "--yes")
    assert code == 0, err
    act_as_people(account)
    code, _, err = parallelize("launch", "1", *RUN)
    assert code == 0, err
    assert len(account.machines("scans")) == 1


def test_a_group_whose_role_may_not_use_the_key_has_no_machine(account, older, parallelize):
    code, _, err = parallelize("launch", "1", *PERSISTENT)
    assert code == 4, err
    assert "they probably may not use the key of their volumes" in " ".join(err.split())
    assert account.machines("scans") == []


def test_setup_lets_auto_scaling_use_the_key_once(account, key, parallelize):
    assert parallelize("setup", "--yes")[0] == 0
    ensure_grant(open_context(Common()), key)
    (grant,) = account.client("kms").list_grants(KeyId=key)["Grants"]
    assert grant["GranteePrincipal"].endswith("/AWSServiceRoleForAutoScaling")
    assert parallelize("launch", "1", *PERSISTENT)[0] == 0
    assert len(account.machines("scans")) == 1


def test_setup_outlasts_that_kms_does_not_know_auto_scalings_new_role(account, key, parallelize):
    assert parallelize("setup", "--yes")[0] == 0
    assert account.strict.refusals[NewServiceRole.__name__]
    assert len(account.client("kms").list_grants(KeyId=key)["Grants"]) == 1


def test_a_dry_run_only_says_that_auto_scaling_would_be_let(account, key, parallelize):
    code, _, err = parallelize("setup", "--dry-run")
    assert code == 0
    assert "would let Auto Scaling use the key" in err
    assert account.client("kms").list_grants(KeyId=key)["Grants"] == []


def test_the_grant_goes_with_the_stack(account, key, parallelize):
    assert parallelize("setup", "--yes")[0] == 0
    account.strict.world.clock.sleep(60)
    code, _, err = parallelize("setup", "--delete", "--yes", "--force")
    assert code == 0, err
    assert account.client("kms").list_grants(KeyId=key)["Grants"] == []


def volumes(parallelize, *words):
    _, out, _ = parallelize("doctor", "--json", *RUN, *words)
    return {one["check"]: one for one in json.loads(out)["findings"]}["volumes"]


def test_doctor_sees_a_key_that_launchers_may_not_use(older, parallelize):
    finding = volumes(parallelize)
    assert finding["verdict"] == "bad"
    assert "launchers may not use the account's key" in finding["text"]
    assert finding["fix"] == "parallelize setup"


def test_doctor_sees_that_auto_scaling_lacks_its_grant(account, key, parallelize, monkeypatch):
    assert parallelize("setup", "--yes")[0] == 0
    (grant,) = account.client("kms").list_grants(KeyId=key)["Grants"]
    account.client("kms").revoke_grant(KeyId=key, GrantId=grant["GrantId"])
    assert volumes(parallelize)["verdict"] == "good"
    monkeypatch.setenv("PARALLELIZE_WORKERS_FLEET", "persistent")
    assert "no grant lets Auto Scaling use" in volumes(parallelize)["text"]


def test_awss_own_key_asks_for_nothing(account, parallelize):
    assert parallelize("setup", "--yes")[0] == 0
    assert volumes(parallelize)["verdict"] == "good"
    launcher = json.dumps(policies(account, "parallelize")["launcher"])
    assert "kms:" not in launcher
    assert BUCKET in launcher
