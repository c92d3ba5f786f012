"""Calls of EC2 and the other services that a run needs now and then: what they may meet."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from tests.unit.core.faults import BREAKDOWNS, Answering, Raising, refusal
from tests.unit.fleet.examples import facts, request

import parallelize.fleet
import parallelize.image
from parallelize import bucket, queues
from parallelize.fleet import (
    alarms,
    autoscaling,
    call_limits,
    describe,
    dry_runs,
    early_end,
    execute,
    group,
    images,
    instances,
    leftovers,
    network,
    permissions,
    placement,
    price_wait,
    prices,
    rates,
    termination,
    volume_key,
)
from parallelize.fleet.clients import ComputeClients, FactClients
from parallelize.fleet.facts import Work
from parallelize.fleet.plan import plan_launch
from parallelize.fleet.pool_choice import Dear
from parallelize.image import catalog
from parallelize.image.catalog import WorkerImage
from parallelize.operations import machine_types, quota_request, usage_check
from parallelize.stack.deploy import Stack
from parallelize_core.errors import AccessError, ParallelizeError, UnavailableError
from parallelize_core.names import Names
from parallelize_core.queue import QueueCounts
from parallelize_core.testing import AsyncInMemoryQueue, InMemoryQueue

RUN = Names("run")
NOW = datetime(2026, 11, 28, tzinfo=UTC)
SUBNET = {"SubnetId": "subnet-1", "VpcId": "vpc-1", "AvailabilityZone": "eu-west-1a"}
PLAN = plan_launch(facts(), request())
TYPE = facts().pools[0].type
DEAR = Dear(facts().pools, 0.01)
ASK = permissions.Ask(("sqs:SendMessage",), "*")
CALLER = "arn:aws:sts::123456789012:assumed-role/lab/me"
PLACE = describe.Place("123456789012", "eu-west-1", (), ("c7i.xlarge",), "auto")
GROUP = {
    "AutoScalingGroupName": "parallelize-run",
    "DesiredCapacity": 1,
    "MixedInstancesPolicy": {"LaunchTemplate": {}},
}
IMAGE = WorkerImage("ami-1", "2026", "1", "base", "x86_64")
QUOTA = quota_request.QuotaRequest("L-1216C47A", "on-demand", 1, 2)


def fact_clients(client: Any) -> FactClients:
    return FactClients(client, client, client, client)


def compute_clients(client: Any) -> ComputeClients:
    return ComputeClients(client, client, client)


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what waits for a market wait for nothing."""
    monkeypatch.setattr("time.sleep", no_wait)


def no_wait(_: float) -> None:
    pass


CALLS: dict[Callable[..., Any], Callable[[Any], object]] = {
    alarms.watch_queue: lambda aws: alarms.watch_queue(aws, RUN, "topic", ()),
    alarms.forget_queue: lambda aws: alarms.forget_queue(aws, RUN),
    alarms.delete: lambda aws: alarms.delete(aws, ["alarm"]),
    autoscaling.follow_queue: lambda aws: autoscaling.follow_queue(aws, aws, RUN, 1, ()),
    autoscaling.unfollow_queue: lambda aws: autoscaling.unfollow_queue(aws, aws, RUN),
    autoscaling.forget_queue: lambda aws: autoscaling.forget_queue(aws, RUN),
    bucket.exists: lambda aws: bucket.exists(aws, "bucket"),
    bucket.region_of: lambda aws: bucket.region_of(aws, "bucket"),
    bucket.create: lambda aws: bucket.create(aws, "bucket", "eu-west-1", {}),
    call_limits.find_call_limits: call_limits.find_call_limits,
    catalog.read_images: catalog.read_images,
    catalog.read_users: catalog.read_users,
    catalog.delete_image: lambda aws: catalog.delete_image(aws, IMAGE),
    dry_runs.ask: lambda aws: dry_runs.ask(aws, RUN, {}, None),
    early_end.watch: lambda aws: early_end.watch(aws, RUN, ["i-1"]),
    execute.execute: lambda aws: execute.execute(PLAN, compute_clients(aws)),
    execute.ensure_template: lambda aws: execute.ensure_template(PLAN, {}, aws),
    describe.describe_launch: lambda aws: describe.describe_launch(
        fact_clients(aws), PLACE, Work(1), RUN
    ),
    describe.find_subnets: lambda aws: describe.find_subnets(aws, ()),
    describe.find_security_groups: lambda aws: describe.find_security_groups(aws, [SUBNET], RUN),
    describe.check_security_groups: lambda aws: describe.check_security_groups(
        aws, ["g"], [SUBNET]
    ),
    describe.find_types: lambda aws: describe.find_types(aws, ["c7i.xlarge"]),
    describe.find_pools: lambda aws: describe.find_pools(fact_clients(aws), "r", [SUBNET], [TYPE]),
    describe.find_quotas: lambda aws: describe.find_quotas(fact_clients(aws), [TYPE]),
    describe.gp3_gib: describe.gp3_gib,
    describe.find_limit: lambda aws: describe.find_limit(aws, "L-1216C47A"),
    group.create: lambda aws: group.create(aws, GROUP),
    group.ensure_group: lambda aws: group.ensure_group(aws, GROUP),
    group.find: lambda aws: group.find(aws, "group"),
    group.find_all: lambda aws: group.find_all(aws, RUN),
    group.last_attempt: lambda aws: group.last_attempt(aws, "group"),
    group.last_refusal: lambda aws: group.last_refusal(aws, "group"),
    group.await_workers: lambda aws: group.await_workers(aws, "group", None),
    group.find_of_run: lambda aws: group.find_of_run(aws, RUN),
    group.hold: lambda aws: group.hold(aws, "group"),
    group.resume: lambda aws: group.resume(aws, "group"),
    group.resize: lambda aws: group.resize(aws, "group", 1),
    group.limit: lambda aws: group.limit(aws, "group", 1),
    group.release: lambda aws: group.release(aws, ["i-1"]),
    group.delete: lambda aws: group.delete(aws, "group"),
    images.find_image: lambda aws: images.find_image(aws, aws, "ssm:name"),
    images.find_images: lambda aws: images.find_images(aws, aws, "auto", ["x86_64"]),
    images.newest: lambda aws: images.newest(aws, "x86_64"),
    images.by_id: lambda aws: images.by_id(aws, "ami-12345678"),
    usage_check.runs_with_messages: lambda aws: usage_check.runs_with_messages(
        aws, RUN.of_all_runs
    ),
    instances.find: lambda aws: instances.find(aws, RUN),
    instances.vcpus_in_use: instances.vcpus_in_use,
    instances.terminate: lambda aws: instances.terminate(aws, ["i-1"]),
    leftovers.find_leftovers: lambda aws: leftovers.find_leftovers(compute_clients(aws), RUN, NOW),
    network.look: lambda aws: network.look(aws, [SUBNET]),
    permissions.principal: lambda aws: permissions.principal(aws, CALLER),
    permissions.refused: lambda aws: permissions.refused(aws, CALLER, [ASK]),
    price_wait.wait: lambda aws: price_wait.wait(aws, DEAR, iter([False, True]).__next__, print),
    placement.ask: lambda aws: placement.ask(aws, "eu-west-1", ["a", "b", "c"], 3),
    prices.spot: lambda aws: prices.spot(aws, ["c7i.xlarge"]),
    prices.on_demand: lambda aws: prices.on_demand(aws, "eu-west-1", ["c7i.xlarge"]),
    prices.told: lambda aws: prices.told(aws, "eu-west-1", ["c7i.xlarge"]),
    rates.unit_prices: lambda aws: rates.unit_prices(aws, "eu-west-1"),
    machine_types.matching_types: lambda aws: machine_types.matching_types(
        aws, machine_types.Requirements()
    ),
    queues.find_place: lambda aws: queues.find_place(aws, RUN),
    queues.find_queues: lambda aws: queues.find_queues(aws, RUN),
    queues.count_lanes: lambda aws: queues.count_lanes(aws, RUN),
    queues.make_queues: lambda aws: queues.make_queues(aws, RUN, {}),
    queues.delete_queues: lambda aws: queues.delete_queues(aws, RUN),
    quota_request.plan_quota: lambda aws: quota_request.plan_quota(
        aws, "on-demand", "c7i.xlarge", 9
    ),
    quota_request.send_quota_request: lambda aws: quota_request.send_quota_request(aws, QUOTA),
    volume_key.find_key: lambda aws: volume_key.find_key(aws, aws),
    volume_key.ensure_role: volume_key.ensure_role,
    termination.look: lambda aws: termination.look(compute_clients(aws), RUN),
    termination.terminate: lambda aws: termination.terminate(
        compute_clients(aws), RUN, patience=0, wait=no_wait
    ),
    termination.await_gone: lambda aws: termination.await_gone(
        compute_clients(aws), RUN, {"i-1"}, patience=0, wait=no_wait
    ),
    termination.check: lambda aws: termination.check(compute_clients(aws), RUN, set()),
    termination.loose_volumes: lambda aws: termination.loose_volumes(compute_clients(aws), RUN),
    termination.tidy: lambda aws: termination.tidy(compute_clients(aws), RUN),
    Stack.status: lambda aws: Stack(aws, "stack").status(),
    Stack.resources: lambda aws: Stack(aws, "stack").resources(),
    Stack.outputs: lambda aws: Stack(aws, "stack").outputs(),
    Stack.parameters: lambda aws: Stack(aws, "stack").parameters(),
    Stack.change_set: lambda aws: Stack(aws, "stack").change_set("", {}, {}).__enter__(),
    Stack.delete: lambda aws: Stack(aws, "stack").delete(lambda _: None),
    Stack.reason: lambda aws: Stack(aws, "stack").reason(),
}

ON_A_LOOP: dict[Callable[..., Any], Callable[[Any], Coroutine[Any, Any, object]]] = {
    queues.ask_place: lambda clients: queues.ask_place(clients, RUN),
    queues.ask_own_lanes: lambda clients: queues.ask_own_lanes(clients, RUN, "place"),
}

ANSWER_WITHOUT = {
    call_limits.find_call_limits,
    early_end.watch,
    describe.find_limit, describe.find_quotas, permissions.principal, placement.ask,
    price_wait.wait,
    prices.on_demand, prices.told,
    quota_request.plan_quota, rates.unit_prices,
}  # fmt: skip
"""What can be done without is not an error if it cannot be had."""

NEEDED = [call for call in CALLS if call not in ANSWER_WITHOUT]


class Client(Raising):
    """A client of AWS, with the classes of errors that botocore gives to its clients."""

    class exceptions:  # noqa: N801 - as botocore calls it
        QueueDoesNotExist = type("QueueDoesNotExist", (Exception,), {})
        ParameterNotFound = type("ParameterNotFound", (Exception,), {})
        ChangeSetNotFoundException = type("ChangeSetNotFoundException", (Exception,), {})
        ResourceAlreadyExistsException = type("ResourceAlreadyExistsException", (Exception,), {})


class NonsenseClient(Answering):
    exceptions = Client.exceptions


def by_name(value: Any) -> str:
    return getattr(value, "__qualname__", "") or type(value).__name__


@pytest.mark.parametrize("error", BREAKDOWNS, ids=by_name)
@pytest.mark.parametrize("call", CALLS, ids=by_name)
def test_whatever_a_rare_call_meets_is_a_service_that_is_not_available(
    call: Callable[..., Any], error: Exception
) -> None:
    if call in ANSWER_WITHOUT:
        CALLS[call](Client(error))
        return
    with pytest.raises(UnavailableError):
        CALLS[call](Client(error))


@pytest.mark.parametrize("call", NEEDED, ids=by_name)
def test_a_rare_call_that_is_refused_says_so(call: Callable[..., Any]) -> None:
    with pytest.raises(AccessError):
        CALLS[call](Client(refusal("AccessDenied", 403)))


@pytest.mark.parametrize("call", [call for call in NEEDED if call is not dry_runs.ask], ids=by_name)
def test_a_refusal_that_nobody_knows_is_told_in_awss_words(call: Callable[..., Any]) -> None:
    with pytest.raises(ParallelizeError, match="NobodyKnows"):
        CALLS[call](Client(refusal("NobodyKnows")))


NONSENSE: list[Any] = [None, [], {}, "text", {"Reservations": None}]


@pytest.mark.parametrize("answer", NONSENSE, ids=str)
@pytest.mark.parametrize("call", CALLS, ids=by_name)
def test_an_answer_without_sense_ends_in_no_error_but_ours(
    call: Callable[..., Any], answer: Any
) -> None:
    try:
        CALLS[call](NonsenseClient(answer))
    except ParallelizeError as error:
        assert not isinstance(error, AccessError)  # noqa: PT017 - it may also be not an error


class LoopClients:
    """Clients of an event loop that give one answer to all rare calls of SQS."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    async def ask_sqs(self, *_: object) -> dict[str, Any]:
        return self.answer

    def queue(self, _: str) -> AsyncInMemoryQueue:
        return AsyncInMemoryQueue(InMemoryQueue())


@pytest.mark.parametrize("answer", [{}, {"QueueUrl": "u", "Tags": None}, {"Tags": {}}], ids=str)
@pytest.mark.parametrize("call", ON_A_LOOP, ids=by_name)
def test_such_an_answer_on_an_event_loop_is_an_error_of_ours_too(
    call: Callable[..., Any], answer: dict[str, Any]
) -> None:
    with pytest.raises(UnavailableError, match="SQS"):
        asyncio.run(ON_A_LOOP[call](LoopClients(answer)))


class UncountedQueue(AsyncInMemoryQueue):
    """A queue whose messages the user may not count."""

    async def counts(self) -> QueueCounts:
        raise AccessError("not allowed")


class UncountedClients(LoopClients):
    """Clients of such queues, whose tags come late."""

    async def ask_sqs(self, *asked: object) -> dict[str, Any]:
        for _ in range(20 if "ListQueueTags" in asked else 0):
            await asyncio.sleep(0)
        return self.answer

    def queue(self, _: str) -> AsyncInMemoryQueue:
        return UncountedQueue(InMemoryQueue())


async def counted_at(place: str) -> tuple[object, int]:
    """Count at a place; return the answer or error, and how many tasks are still running."""
    clients: Any = UncountedClients({"QueueUrl": "u", "Tags": {queues.PLACE: place}})
    asked = queues.ask_own_lanes(clients, RUN, "ours")
    (found,) = await asyncio.gather(asked, return_exceptions=True)
    return found, len(asyncio.all_tasks()) - 1


def test_the_queue_of_a_run_elsewhere_need_not_be_counted() -> None:
    assert asyncio.run(counted_at("elsewhere")) == (None, 0)


def test_a_queue_that_cannot_be_counted_leaves_no_call_running() -> None:
    found, running = asyncio.run(counted_at("ours"))
    assert (type(found), running) == (AccessError, 0)


def test_machines_of_a_service_that_is_not_ec2_are_not_none_but_unknown() -> None:
    with pytest.raises(UnavailableError, match="EC2's answer cannot be understood"):
        instances.find(NonsenseClient({}), RUN)  # type: ignore[arg-type]


def test_no_call_of_the_fleet_is_missing_here() -> None:
    taking = {function for module in _modules() for function in _taking_clients(module)}
    assert taking - CALLS.keys() - ON_A_LOOP.keys() == set()


def _modules() -> Iterator[ModuleType]:
    for package in (parallelize.fleet, parallelize.image):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)
    yield from (bucket, queues, machine_types, quota_request, usage_check)


def _taking_clients(module: ModuleType) -> Iterator[Callable[..., Any]]:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if name.startswith("_") or function.__module__ != module.__name__:
            continue
        given = {key: str(kind) for key, kind in function.__annotations__.items()}
        given.pop("return", None)
        if any("Client" in kind for kind in given.values()):
            yield function
