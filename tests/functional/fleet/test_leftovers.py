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


def test_a_clean_names_the_group_that_it_takes_away(account, parallelize):
    account.prepare("scans", files=0)
    words = ("launch", "9", "--fleet", "persistent", "--autoscale", "--run", "scans")
    assert parallelize(*words)[0] == 0
    _, _, err = parallelize("clean", "--dry-run", "--run", "scans")
    assert "(dry run) would delete the Auto Scaling group parallelize-scans\n" in err
    assert account.group("scans")
    assert parallelize("clean", "--yes", "--run", "scans")[0] == 0
    assert account.group("scans") is None


def test_a_group_that_sleeps_at_zero_is_found_although_this_run_is_gone(account, parallelize):
    account.prepare("forgotten", files=0)
    words = ("launch", "9", "--fleet", "persistent", "--autoscale", "--run", "forgotten")
    assert parallelize(*words)[0] == 0
    code, _, err = parallelize("clean", "--dry-run", "--run", "gone")
    assert code == 0
    assert '(dry run) there is nothing of a run "gone"' in err
    assert "(dry run) left by run forgotten: group parallelize-forgotten, 0 h old\n" in err
