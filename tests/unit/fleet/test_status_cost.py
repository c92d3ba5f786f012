import pytest

from parallelize.run_status import RunState, RunStatus
from parallelize.status_view import as_json


def status(*, done, failed=0, left, cost):
    return RunStatus(
        run="scans", state=RunState.RUNNING, taken_at=0, total=done + failed + left, done=done,
        failed=failed, running=0, waiting=left, unsent=0, workers=(), elapsed=0, rate=0, cost=cost,
        last_failure=None, why=None,
    )  # fmt: skip


def test_the_rest_costs_what_the_finished_files_have_cost_each():
    cost = as_json(status(done=8, failed=2, left=30, cost=0.50))["cost_usd"]
    assert cost["per_file"] == pytest.approx(0.05)
    assert cost["to_finish"] == pytest.approx(1.50)


@pytest.mark.parametrize(("done", "cost"), [(0, 0.5), (8, 0.0)])
def test_before_the_first_file_or_without_prices_nothing_is_guessed(done, cost):
    found = as_json(status(done=done, left=30, cost=cost))["cost_usd"]
    assert found["per_file"] is None
    assert found["to_finish"] is None
