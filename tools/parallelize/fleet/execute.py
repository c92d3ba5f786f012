"""Executes a launch plan, and reports the outcome."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from parallelize.console import say
from parallelize.fleet import alarms, early_end, shortfall
from parallelize.fleet.autoscaling import follow_queue, unfollow_queue
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.facts import Market
from parallelize.fleet.group import Staffing, await_workers, ensure_group, find, last_attempt
from parallelize.fleet.instances import Machine
from parallelize.fleet.pacing import Pace
from parallelize.fleet.plan import FleetPlan, GroupPlan, LaunchPlan
from parallelize.fleet.template import fingerprint
from parallelize_core.aws_errors import may_have_happened, response_of, translated
from parallelize_core.errors import ParallelizeError, UnavailableError, code_of
from parallelize_core.outlast import NAMED_TEMPLATE, NEW_PROFILE, NEW_TEMPLATE, outlast

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client


@dataclass(frozen=True)
class Started:
    """A machine that was started."""

    id: str
    type: str
    market: Market


@dataclass(frozen=True)
class Refusal:
    """Why EC2 did not start machines in one pool."""

    code: str
    message: str
    pool: str = ""


@dataclass(frozen=True)
class LaunchOutcome:
    """The outcome of a launch; the machines count, and errors only explain the missing ones."""

    asked: int
    started: tuple[Started, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    region: str = ""
    group: str = ""
    size: int = 0
    """How many workers the group is to have, perhaps more than were requested."""
    trouble: ParallelizeError | None = None
    """What ended the launch after some machines had started."""
    ended: tuple[Machine, ...] = ()
    """Started machines that EC2 has ended since, for its own reasons."""
    staffing: Staffing = field(default_factory=lambda: Staffing(0))
    """How far the group has come with its first machines."""

    @property
    def missing(self) -> int:
        """How many requested machines did not start; a group is still starting them."""
        alive = len(self.started) - len(self.ended)
        return 0 if self.group else max(0, self.asked - alive)

    @property
    def names(self) -> list[str]:
        """What was created: the group that starts machines by itself, or the machines."""
        return [self.group] if self.group else [machine.id for machine in self.started]

    def error(self) -> ParallelizeError | None:
        """Return why machines are missing, or None if none is."""
        if self.staffing.refusal:
            return early_end.explain_group(self.region, self.size, self.staffing)
        if not self.missing:
            return None
        if told := self.trouble:
            count = f"started {len(self.started)} of {self.asked} workers"
            return type(told)(f"{told.what}; {count}", told.why, told.fix)
        if self.ended:
            return early_end.explain(self.region, self.asked, self.ended)
        return shortfall.explain(self.region, self.asked, len(self.started), self.refusals)

    def check(self) -> None:
        """Raise the error that explains missing machines, if any."""
        if error := self.error():
            raise error


def execute(plan: LaunchPlan, clients: ComputeClients) -> LaunchOutcome:
    """Carry out a plan; missing machines are reported in the outcome, not by an exception.

    A persistent fleet starts its machines by itself, later; its outcome names the group. An error
    before any machine has started is raised; a later one is in the outcome, with the machines.
    """
    if plan.request.topic:
        # Before any machine exists: without this permission, nothing is started.
        request = plan.request
        alarms.watch_queue(clients.cloudwatch, request.names, request.topic, request.tag_list)
    if plan.group:
        return _make_group(plan, plan.group, clients)
    outcome = LaunchOutcome(plan.request.count, region=plan.region)
    for fleet in plan.fleets:
        outcome = _go_on(outcome, plan, fleet, clients.ec2)
    if plan.fallback and outcome.missing and shortfall.is_short(outcome.refusals):
        fallback = replace(plan.fallback, count=outcome.missing)
        outcome = _go_on(outcome, plan, fallback, clients.ec2)
    return replace(outcome, ended=early_end.watch(clients.ec2, plan.request.names, ids(outcome)))


def _go_on(
    before: LaunchOutcome,
    plan: LaunchPlan,
    fleet: FleetPlan,
    ec2: EC2Client,
) -> LaunchOutcome:
    """Ask for the next fleet, unless the last one had trouble."""
    if before.trouble:
        return before
    outcome = before
    try:
        for answer in _create(plan, fleet, ec2):
            outcome = _add(outcome, answer)
    except ParallelizeError as error:
        # Started machines cost money: a user who did not hear of them would launch them again.
        if not outcome.started:
            raise
        return replace(outcome, trouble=error)
    return outcome


def _make_group(plan: LaunchPlan, group: GroupPlan, clients: ComputeClients) -> LaunchOutcome:
    request, names = plan.request, plan.request.names
    specifications = _specifications(plan, group.templates, clients.ec2)
    body = with_group_templates(group.body, specifications, group.of_type)
    former = _former_attempt(clients, names.group)
    size = ensure_group(clients.autoscaling, body)
    if request.autoscale:
        follow_queue(
            clients.autoscaling,
            clients.cloudwatch,
            names,
            request.backlog_per_worker,
            request.tag_list,
        )
    else:
        unfollow_queue(clients.autoscaling, clients.cloudwatch, names)
    staffing = _staffing(clients, names.group, former)
    return LaunchOutcome(
        request.count, region=plan.region, group=names.group, size=size, staffing=staffing
    )


def _former_attempt(clients: ComputeClients, name: str) -> Any | None:
    """Return the last attempt of a group that already exists, if it can be read."""
    try:
        return find(clients.autoscaling, name) and last_attempt(clients.autoscaling, name)
    except ParallelizeError:
        return None


def _staffing(clients: ComputeClients, name: str, former: Any | None) -> Staffing:
    """Look how far a group has come; a failed look says nothing about it."""
    try:
        return await_workers(clients.autoscaling, name, former)
    except ParallelizeError:
        return Staffing(0)


def _specifications(
    plan: LaunchPlan, templates: Sequence[dict[str, Any]], ec2: EC2Client
) -> list[dict[str, str]]:
    """Create the templates that do not exist yet, and return the reference to each."""
    made = [
        outlast(NAMED_TEMPLATE, partial(ensure_template, plan, data, ec2), say)
        for data in templates
    ]
    return [{"LaunchTemplateId": template, "Version": version} for template, version in made]


@translated("EC2")
def ensure_template(plan: LaunchPlan, data: dict[str, Any], ec2: EC2Client) -> tuple[str, str]:
    """Return the id and the version of the run's launch template with this content.

    The run has one template; a version's description identifies its content, so launching again
    with the same settings creates no new version.
    """
    name, content = plan.request.names.group, fingerprint(data)
    # Derived from this launch, not from the content: an equal template may have been deleted since.
    token = f"{plan.request.token}-{content}"
    versions = _versions(ec2, name)
    for version in versions:
        if version.get("VersionDescription") == content:
            return version["LaunchTemplateId"], str(version["VersionNumber"])
    if versions:
        made = ec2.create_launch_template_version(
            LaunchTemplateName=name, VersionDescription=content, ClientToken=token,
            LaunchTemplateData=data,  # type: ignore[arg-type]
        )["LaunchTemplateVersion"]  # fmt: skip
        return made["LaunchTemplateId"], str(made["VersionNumber"])
    template = ec2.create_launch_template(
        LaunchTemplateName=name, VersionDescription=content, ClientToken=token,
        LaunchTemplateData=data,  # type: ignore[arg-type]
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": plan.request.tag_list}],
    )["LaunchTemplate"]  # fmt: skip
    return template["LaunchTemplateId"], "1"


def _versions(ec2: EC2Client, name: str) -> list[Any]:
    pages = ec2.get_paginator("describe_launch_template_versions").paginate(LaunchTemplateName=name)
    try:
        with translated("EC2"):
            return [version for page in pages for version in page["LaunchTemplateVersions"]]
    except ParallelizeError as error:
        if code_of(error).startswith("InvalidLaunchTemplateName.NotFound"):
            return []
        raise


def _create(plan: LaunchPlan, fleet: FleetPlan, ec2: EC2Client) -> Iterator[LaunchOutcome]:
    """Ask for a fleet, as many machines at a time as EC2 starts, and yield its answers.

    Each request is for machines that have not started, with a new token: none starts twice.
    """
    body = with_templates(fleet.body, _specifications(plan, fleet.templates, ec2))
    pace, tokens = Pace(fleet.count, say), _tokens(fleet.body["ClientToken"])
    while True:
        answer = _outlasting_templates(ec2, body, pace.portion, tokens)
        throttled = shortfall.is_throttled(answer.refusals)
        if not pace.goes_on(len(answer.started), throttled=throttled):
            yield answer
            return
        # Machines that are requested again do not count as refused.
        yield replace(answer, refusals=())


def _tokens(token: str) -> Iterator[str]:
    """Yield request tokens: EC2 answers a used token only by repeating its answer."""
    return (f"{token}-{number}" if number else token for number in itertools.count())


def _outlasting_templates(
    ec2: EC2Client, body: dict[str, Any], count: int, tokens: Iterator[str]
) -> LaunchOutcome:
    """Ask for `count` machines; retry for a while if EC2 does not yet know what is new."""
    target = {**body["TargetCapacitySpecification"], "TotalTargetCapacity": count}
    whole = {**body, "TargetCapacitySpecification": target}

    def ask() -> LaunchOutcome:
        return _ask(ec2, {**whole, "ClientToken": next(tokens)}, count)

    def ask_for_known_template() -> LaunchOutcome:
        return outlast(NEW_TEMPLATE, ask, say, early=_is_too_early)

    return outlast(NEW_PROFILE, ask_for_known_template, say, early=_lacks_profile)


def _is_too_early(outcome: LaunchOutcome) -> bool:
    return not outcome.started and shortfall.is_too_early(outcome.refusals)


def _lacks_profile(outcome: LaunchOutcome) -> bool:
    return not outcome.started and shortfall.lacks_profile(outcome.refusals)


def _ask(ec2: EC2Client, body: dict[str, Any], count: int) -> LaunchOutcome:
    try:
        with translated("EC2"):
            answer: Any = ec2.create_fleet(**body)
            return LaunchOutcome(
                count,
                tuple(_started(answer.get("Instances", ()))),
                tuple(_refusals(answer.get("Errors", ()))),
            )
    except ParallelizeError as error:
        refusal = Refusal(code_of(error), response_of(error).get("Error", {}).get("Message", ""))
        if shortfall.is_answer(refusal):
            return LaunchOutcome(count, (), (refusal,))
        if not may_have_happened(error):
            raise
        # All tries used the same token, so there is at most one fleet.
        raise UnavailableError(
            "EC2's answer was lost; workers may have started", error.why,
            "parallelize scale N   counts them, and starts only the missing ones",
        ) from error  # fmt: skip


def with_group_templates(
    body: dict[str, Any], specifications: Sequence[dict[str, str]], of_type: Mapping[str, int]
) -> dict[str, Any]:
    """Return a copy of a group's request with its launch templates filled in.

    The first is the group's; a type with a different image names its own.
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-mixed-instances-groups-launch-template-overrides.html
    """
    policy = body["MixedInstancesPolicy"]
    overrides = [
        {**one, "LaunchTemplateSpecification": specifications[number]}
        if (number := of_type[one["InstanceType"]])
        else one
        for one in policy["LaunchTemplate"]["Overrides"]
    ]
    template = {"LaunchTemplateSpecification": specifications[0], "Overrides": overrides}
    return {**body, "MixedInstancesPolicy": {**policy, "LaunchTemplate": template}}


def with_templates(
    body: dict[str, Any], specifications: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """Return a copy of a CreateFleet request with its launch templates filled in."""
    configs = [
        {**config, "LaunchTemplateSpecification": specification}
        for config, specification in zip(body["LaunchTemplateConfigs"], specifications, strict=True)
    ]
    return {**body, "LaunchTemplateConfigs": configs}


def _started(instances: Iterable[Any]) -> Iterable[Started]:
    for group in instances:
        market: Market = "spot" if group.get("Lifecycle") == "spot" else "on-demand"
        for id_ in group["InstanceIds"]:
            yield Started(id_, group.get("InstanceType", ""), market)


def _refusals(errors: Iterable[Any]) -> Iterable[Refusal]:
    for error in errors:
        override = error.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
        pool = " ".join(
            override[name]
            for name in ("InstanceType", "AvailabilityZone", "SubnetId")
            if override.get(name)
        )
        yield Refusal(error.get("ErrorCode", ""), error.get("ErrorMessage", ""), pool)


def _add(before: LaunchOutcome, new: LaunchOutcome) -> LaunchOutcome:
    return replace(
        before,
        started=before.started + new.started,
        refusals=before.refusals + new.refusals,
    )


def ids(outcome: LaunchOutcome) -> Sequence[str]:
    """Return the ids of the machines that were started."""
    return [machine.id for machine in outcome.started]
