"""`parallelize doctor` against moto."""

import json


def findings(parallelize):
    code, out, _ = parallelize("doctor", "--json", "--run", "scans")
    return code, {one["check"]: one for one in json.loads(out)["findings"]}


def test_a_fresh_account_lacks_the_stack_and_is_told_how_to_make_it(account, parallelize):
    code, found = findings(parallelize)
    assert code == 2
    assert found["stack"]["verdict"] == "bad"
    assert found["stack"]["fix"] == "parallelize setup"
    assert found["credentials"]["verdict"] == "good"


def test_leftovers_of_other_runs_are_seen(account, parallelize):
    account.prepare("forgotten")
    parallelize("launch", "2", "--run", "forgotten")
    _, found = findings(parallelize)
    assert found["leftovers"]["verdict"] == "look"
    assert found["leftovers"]["fix"] == "parallelize kill --run forgotten"


def test_an_account_without_leftovers_is_clean(account, parallelize):
    assert findings(parallelize)[1]["leftovers"]["verdict"] == "good"


def test_without_credentials_nothing_else_is_asked(account, parallelize, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    code, out, _ = parallelize("doctor", "--json")
    (finding,) = json.loads(out)["findings"]
    assert code == 2
    assert finding["text"] == "no AWS credentials found"


def test_a_caller_whose_policies_cannot_be_simulated_is_said_and_is_no_error(account, parallelize):
    finding = findings(parallelize)[1]["permissions"]
    assert finding["verdict"] == "look"
    assert "EC2's dry runs pass" in finding["text"]


def test_every_line_fits_on_a_terminal(account, parallelize):
    _, _, err = parallelize("doctor")
    assert max(map(len, err.splitlines())) <= 80
