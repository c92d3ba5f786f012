"""A CloudFormation stack: planned as a change set, executed, and its outputs read.

`parallelize.stack.state` says what each of its states allows.
"""

from __future__ import annotations

import difflib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parallelize.console import escape
from parallelize.stack.state import Standing, standing
from parallelize_core.aws_errors import response_of, translated
from parallelize_core.errors import ParallelizeError, ServiceError, UsageError, code_of

if TYPE_CHECKING:
    from types_boto3_cloudformation import CloudFormationClient

SERVICE = "CloudFormation"

POLL_SECONDS = 3.0
PATIENCE_SECONDS = 15 * 60.0
SETTLE_SECONDS = 30.0
"""For this long, CloudFormation may still report the state from before a deletion."""

CAPABILITIES = ["CAPABILITY_NAMED_IAM"]
"""The policies have names, so that people can be given them."""

NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
"""CloudFormation treats a change set without changes as a failure, and says so only in words.

AWS creates one that fails, with the first text or sometimes the second; moto refuses to create it.
https://github.com/ansible-collections/amazon.aws/pull/507
"""

EMPTY = "REVIEW_IN_PROGRESS"
"""The status of a stack that only has plans."""

GONE = "DELETE_COMPLETE"
"""The status of a deleted stack, where its name still finds it."""

MADE = {Standing.WHOLE, Standing.BUSY}

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Changes:
    """What a change set would do, in lines, and how to execute it."""

    lines: tuple[str, ...]
    execute: Callable[[Tell], None]


@dataclass(frozen=True)
class Stack:
    """A stack by its name, whether it exists or not."""

    client: CloudFormationClient
    name: str
    poll_seconds: float = POLL_SECONDS

    def status(self) -> str | None:
        """Return CloudFormation's status of the stack, or None if there is no stack."""
        found = self._describe()
        return found["StackStatus"] if found else None

    def outputs(self) -> dict[str, str] | None:
        """Return the stack's outputs, or None if it does not exist or was never made."""
        found = self._describe()
        if found is None or standing(found["StackStatus"]) not in MADE:
            return None
        return {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs") or ()}

    def parameters(self) -> dict[str, str]:
        """Return the parameters that the stack was made with; none if it was not made."""
        found = self._describe()
        if found is None or standing(found["StackStatus"]) not in MADE:
            return {}
        return {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters") or ()}

    @translated(SERVICE)
    def resources(self) -> dict[str, str]:
        """Return the resources of the stack, even if incomplete: ids or ARNs by logical name."""
        pages = self.client.get_paginator("list_stack_resources").paginate(StackName=self.name)
        return {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for page in pages for one in page["StackResourceSummaries"]
            if "PhysicalResourceId" in one
        }  # fmt: skip

    @contextmanager
    def change_set(
        self, template: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> Iterator[Changes]:
        """Plan what deploying would change; a plan that is not executed is deleted.

        Omitted parameters keep the stack's values. Raises UsageError for a parameter
        that the template does not have, ServiceError if CloudFormation cannot make the plan.
        """
        plan = _Plan(f"parallelize-{uuid.uuid4().hex}", self._describe())
        values = _values(parameters, self._known(template), plan.parameters)
        if not self._create(plan, template, values, tags):
            yield Changes((), lambda _: None)
            return
        carried_out = False

        def execute(tell: Tell) -> None:
            nonlocal carried_out
            carried_out = True
            self._execute(plan.name, tell)

        try:
            yield Changes(self._lines(plan.name), execute)
        finally:
            if not carried_out:
                self._forget(plan)

    def _create(
        self, plan: _Plan, template: str, values: list[Any], tags: Mapping[str, str]
    ) -> bool:
        """Create the change set; return False if it was refused because nothing would change."""
        try:
            with translated(SERVICE):
                self.client.create_change_set(
                    StackName=self.name,
                    ChangeSetName=plan.name,
                    ChangeSetType="CREATE" if plan.is_new else "UPDATE",
                    TemplateBody=template,
                    Parameters=values,
                    Capabilities=CAPABILITIES,  # type: ignore[arg-type]
                    Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                )
        except ParallelizeError as error:
            if _is_without_changes(response_of(error).get("Error", {}).get("Message", "")):
                return False
            raise
        return True

    def delete(self, tell: Tell) -> None:
        """Delete the stack, or wait for its deletion to finish; what it retains stays."""
        operation = _Operation(self.status() or GONE, time.monotonic())
        with translated(SERVICE):
            self.client.delete_stack(StackName=self.name, ClientRequestToken=operation.token)
        self._wait(tell, {GONE}, operation)

    @translated(SERVICE)
    def reason(self, token: str | None = None) -> str | None:
        """Return why the operation `token` failed (None: any), or None if no event says so."""
        pages = self.client.get_paginator("describe_stack_events").paginate(StackName=self.name)
        failed = [
            event for page in pages for event in page["StackEvents"]
            if event.get("ResourceStatus", "").endswith("_FAILED")
            and token in {None, event.get("ClientRequestToken")}
        ]  # fmt: skip
        if not failed:
            return None
        # The oldest is the cause; later ones only say that something else had failed.
        first = failed[-1]
        return f"{first.get('LogicalResourceId')}: {first.get('ResourceStatusReason')}"

    @translated(SERVICE)
    def _known(self, template: str) -> set[str]:
        summary = self.client.get_template_summary(TemplateBody=template)
        return {one["ParameterKey"] for one in summary["Parameters"]}

    def _describe(self) -> Any:
        try:
            with translated(SERVICE):
                return self.client.describe_stacks(StackName=self.name)["Stacks"][0]
        except ParallelizeError as error:
            if "does not exist" in response_of(error).get("Error", {}).get("Message", ""):
                return None
            raise

    @translated(SERVICE)
    def _lines(self, name: str) -> tuple[str, ...]:
        found = self._finished_change_set(name)
        if found["Status"] == "FAILED":
            reason = found.get("StatusReason", "")
            if _is_without_changes(reason):
                return ()
            raise ServiceError("CloudFormation cannot plan the stack", reason)
        return tuple(_line(change["ResourceChange"]) for change in self._changes(name, found))

    def _changes(self, name: str, page: Any) -> Iterator[Any]:
        yield from page["Changes"]
        while token := page.get("NextToken"):
            page = self.client.describe_change_set(
                StackName=self.name, ChangeSetName=name, NextToken=token
            )
            yield from page["Changes"]

    def _finished_change_set(self, name: str) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = self.client.describe_change_set(StackName=self.name, ChangeSetName=name)
            if found["Status"] not in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}:
                return found
            time.sleep(self.poll_seconds)
        raise ServiceError(
            "CloudFormation did not finish its change set in time", None, "try again"
        )

    def _execute(self, name: str, tell: Tell) -> None:
        operation = _Operation(self.status() or GONE, time.monotonic(), change_set=name)
        with translated(SERVICE):
            self.client.execute_change_set(
                StackName=self.name, ChangeSetName=name, ClientRequestToken=operation.token
            )
        self._wait(tell, {"CREATE_COMPLETE", "UPDATE_COMPLETE"}, operation)

    def _wait(self, tell: Tell, good: set[str], operation: _Operation) -> None:
        deadline, last, begun = time.monotonic() + PATIENCE_SECONDS, "", False
        while time.monotonic() < deadline:
            state = self.status() or GONE
            if state != last:
                tell(state)
            begun = begun or state != operation.before or self._has_begun(operation)
            if begun and state in good:
                return
            if begun and standing(state) is not Standing.BUSY:
                raise ServiceError(f"the stack ended as {state}", self.reason(operation.token))
            last = state
            time.sleep(self.poll_seconds)
        raise ServiceError("CloudFormation is still working", None, "wait, then: parallelize setup")

    @translated(SERVICE)
    def _has_begun(self, operation: _Operation) -> bool:
        """Whether the operation has begun, although the stack's state looks the same as before."""
        if operation.change_set is None:
            return operation.before == GONE or time.monotonic() - operation.asked > SETTLE_SECONDS
        try:
            found = self.client.describe_change_set(
                StackName=self.name, ChangeSetName=operation.change_set
            )
        except self.client.exceptions.ChangeSetNotFoundException:
            return True
        return found["ExecutionStatus"] not in {"AVAILABLE", "EXECUTE_IN_PROGRESS"}

    def _forget(self, plan: _Plan) -> None:
        """Delete an unused plan, and the empty stack that planning a new one leaves behind."""
        if plan.before is None and self.status() == EMPTY:
            self.delete(lambda _: None)
            return
        try:
            with translated(SERVICE):
                self.client.delete_change_set(StackName=self.name, ChangeSetName=plan.name)
        except ParallelizeError as error:
            # CloudFormation is still making it; it does not execute by itself.
            if code_of(error) != "InvalidChangeSetStatus":
                raise


@dataclass(frozen=True)
class _Plan:
    """A change set, and CloudFormation's description of the stack before it."""

    name: str
    before: Any

    @property
    def is_new(self) -> bool:
        return standing(self.before and self.before["StackStatus"]) is Standing.ABSENT

    @property
    def parameters(self) -> set[str]:
        """The parameters for which the stack already has values."""
        if self.is_new:
            return set()
        return {one["ParameterKey"] for one in self.before.get("Parameters") or ()}


@dataclass(frozen=True)
class _Operation:
    """A request: in which state and when (monotonic) it was made, and for which change set, if any.

    AWS puts the token on the events of the operation.
    """

    before: str
    asked: float
    change_set: str | None = None
    token: str = field(default_factory=lambda: uuid.uuid4().hex)


def _is_without_changes(reason: str) -> bool:
    return any(words in reason for words in NO_CHANGES)


def _values(given: Mapping[str, str], known: set[str], kept: set[str]) -> list[Any]:
    """Return parameters for a change set; an omitted one would fall back to its default."""
    if unknown := sorted(given.keys() - known):
        near = difflib.get_close_matches(unknown[0], known, 1)
        raise UsageError(
            f'the stack has no parameter "{escape(unknown[0])}"',
            f"did you mean {near[0]}?" if near else None,
            "parallelize setup --print-template   lists them at the top",
        )
    return [
        *({"ParameterKey": key, "ParameterValue": value} for key, value in given.items()),
        *({"ParameterKey": key, "UsePreviousValue": True}
          for key in sorted((kept & known) - given.keys())),
    ]  # fmt: skip


def _line(change: Any) -> str:
    verb = {"Add": "would add", "Modify": "would change", "Remove": "would remove"}
    replaced = ", by replacing it" if change.get("Replacement") == "True" else ""
    action = verb.get(change["Action"], change["Action"])
    return f"{action} {change['LogicalResourceId']} ({change['ResourceType']}){replaced}"
