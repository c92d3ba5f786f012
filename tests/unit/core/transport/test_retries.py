"""When a call is made again."""

from __future__ import annotations

from parallelize_core.transport.retries import (
    ATTEMPTS,
    CONFLICT_ATTEMPTS,
    MAX_DELAY_SECONDS,
    Reason,
    RetryBudget,
)


def longest(low: float, high: float) -> float:
    assert low == 0
    return high


def shortest(low: float, high: float) -> float:
    return low


def test_the_longest_pause_doubles_up_to_a_limit() -> None:
    budget = RetryBudget(longest)
    pauses = [budget.delay(Reason.CONFLICT, n, None) for n in range(1, CONFLICT_ATTEMPTS)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_DELAY_SECONDS]


def test_a_pause_may_be_any_length_up_to_the_longest() -> None:
    assert RetryBudget(shortest).delay(Reason.TRANSIENT, 1, None) == 0


def test_a_server_is_never_asked_again_sooner_than_it_wants() -> None:
    assert RetryBudget(shortest).delay(Reason.TRANSIENT, 1, 2.0) == 2.0


def test_a_server_cannot_ask_for_a_pause_of_hours() -> None:
    assert RetryBudget(shortest).delay(Reason.THROTTLED, 1, 3600.0) == MAX_DELAY_SECONDS


def test_attempts_end() -> None:
    budget = RetryBudget()
    assert budget.delay(Reason.TRANSIENT, ATTEMPTS - 1, None) is not None
    assert budget.delay(Reason.TRANSIENT, ATTEMPTS, None) is None


def used_up() -> RetryBudget:
    budget = RetryBudget(shortest)
    while budget.delay(Reason.TRANSIENT, 1, None) is not None:
        pass
    return budget


def test_a_budget_ends_before_the_attempts_of_many_calls_do() -> None:
    budget = RetryBudget(shortest)
    retries = sum(budget.delay(Reason.TRANSIENT, 1, None) is not None for _ in range(1000))
    assert retries == 35


def test_a_budget_comes_back_with_success() -> None:
    budget = used_up()
    for _ in range(RetryBudget.cost(Reason.TRANSIENT)):
        budget.succeeded(spent=0)
    assert budget.delay(Reason.TRANSIENT, 1, None) is not None
    assert budget.delay(Reason.TRANSIENT, 1, None) is None


def test_a_retry_that_succeeds_costs_nothing_in_the_end() -> None:
    budget = used_up()
    budget.succeeded(spent=RetryBudget.cost(Reason.TRANSIENT))
    assert budget.delay(Reason.TRANSIENT, 1, None) is not None


def test_writes_that_meet_others_spend_nothing() -> None:
    assert used_up().delay(Reason.CONFLICT, 1, None) is not None
