import pytest

from parallelize.runs.state.ending import end_lines
from parallelize.runs.state.status import RunState, RunStatus
from parallelize.runs.state.view import as_json, page
from parallelize_core.cost import Spent


def status(*, done, failed=0, left, cost, **beside):
    return RunStatus(
        run="scans", state=RunState.RUNNING, taken_at=0, total=done + failed + left, done=done,
        failed=failed, running=0, waiting=left, unsent=0, workers=(), elapsed=0, rate=0,
        spent=Spent(cost - sum(beside.values()), **beside),
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


def cost_line(**counts):
    return [line for line in page(status(**counts)) if line.startswith("  cost")]


def test_the_page_tells_what_was_spent_what_a_file_costs_and_the_rest():
    [line] = cost_line(done=1000, left=3000, cost=2.0)
    assert line == "  cost    est. $2.00 so far · $0.0020 a file · $6.00 to finish"


def test_the_page_says_what_is_counted():
    spent = {"addresses": 0.1, "disks": 0.11, "requests": 1.25, "monitoring": 0.04}
    text = " ".join(" ".join(page(status(done=1000, left=0, cost=2.0, **spent))).split())
    assert (
        "machines $0.50, addresses $0.10, disks $0.11, requests $1.25, metrics and log $0.04"
    ) in text


def test_of_workers_that_tell_of_their_machines_only_the_page_says_so():
    assert "          machines only" in page(status(done=1000, left=0, cost=2.0))


def test_the_end_of_a_run_says_what_is_counted():
    spent = {"addresses": 0.1, "disks": 0.11, "requests": 1.25, "monitoring": 0.04}
    lines = end_lines(status(done=1000, left=0, cost=2.0, **spent), (), 0, "")
    assert all(len(line) <= 80 for line in lines)
    assert "est. cost: machines $0.50, addresses $0.10, disks $0.11" in " ".join(lines)


def test_the_end_of_a_run_that_cost_nothing_says_nothing_of_cost():
    assert "est." not in " ".join(end_lines(status(done=8, left=0, cost=0.0), (), 0, ""))


def test_json_has_what_was_spent_on_each():
    cost = as_json(status(done=1000, left=0, cost=2.0, requests=1.25))["cost_usd"]
    assert cost["of"]["machines"] == 0.75
    assert cost["of"]["requests"] == 1.25


def test_a_run_that_is_over_costs_nothing_more():
    [line] = cost_line(done=10, left=0, cost=0.5)
    assert "to finish" not in line


def test_without_prices_the_page_says_nothing_of_cost():
    assert cost_line(done=8, left=30, cost=0.0) == []
