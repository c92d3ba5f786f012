"""`clean --dry-run` names what any run has left."""


def test_leftovers_of_other_runs_are_listed_and_nothing_is_ended(account, parallelize):
    for run in ("scans", "forgotten"):
        account.prepare(run)
    parallelize("launch", "1", "--run", "forgotten")
    (machine,) = account.machines("forgotten")
    code, _, err = parallelize("clean", "--dry-run", "--run", "scans")
    assert code == 0
    assert f"(dry run) left by run forgotten: machine {machine['InstanceId']}, 0 h old" in err
    assert len(account.machines("forgotten")) == 1
