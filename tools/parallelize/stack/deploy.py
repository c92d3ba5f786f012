"""A CloudFormation stack: planned as a change set, carried out, asked for what it made."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from parallelize_core.errors import ServiceError

if TYPE_CHECKING:
    from types_boto3_cloudformation import CloudFormationClient

POLL_SECONDS = 3.0
PATIENCE_SECONDS = 15 * 60.0
CAPABILITIES = ["CAPABILITY_NAMED_IAM"]
"""The policies have names, so that people can be given them."""

NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
"""CloudFormation calls a change set without changes a failure, and says so only in words."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Changes:
    """What a change set would do, in lines, and the way to let it."""

    lines: tuple[str, ...]
    execute: Callable[[Tell], None]


@dataclass(frozen=True)
class Stack:
    """A stack by its name, whether there is one or not."""

    client: CloudFormationClient
    name: str

    def outputs(self) -> dict[str, str] | None:
        """Return what the stack says it made, or None if there is no finished stack."""
        found = self._describe()
        if found is None or found["StackStatus"] == "REVIEW_IN_PROGRESS":
            return None
        return {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs") or ()}

    def resource(self, logical_id: str) -> str | None:
        """Return the name of what the stack made under `logical_id`, None if it made nothing."""
        try:
            answer = self.client.describe_stack_resource(
                StackName=self.name, LogicalResourceId=logical_id
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return None
            raise
        return answer["StackResourceDetail"].get("PhysicalResourceId")

    @contextmanager
    def change_set(
        self, template: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> Iterator[Changes]:
        """Plan what deploying would change; the plan is taken away afterwards.

        Raises ServiceError if CloudFormation cannot make the plan.
        """
        is_new = self.outputs() is None
        name = f"parallelize-{uuid.uuid4().hex}"
        self.client.create_change_set(
            StackName=self.name,
            ChangeSetName=name,
            ChangeSetType="CREATE" if is_new else "UPDATE",
            TemplateBody=template,
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            Capabilities=CAPABILITIES,  # type: ignore[arg-type]
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )
        try:
            yield Changes(self._lines(name), lambda tell: self._execute(name, tell))
        finally:
            self._forget(name)

    def delete(self, tell: Tell) -> None:
        """Delete the stack; what it retains stays."""
        self.client.delete_stack(StackName=self.name)
        self._wait(tell, {"DELETE_COMPLETE"})

    def _describe(self) -> Any:
        try:
            return self.client.describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return None
            raise

    def _lines(self, name: str) -> tuple[str, ...]:
        found = self._finished_change_set(name)
        if found["Status"] == "FAILED":
            reason = found.get("StatusReason", "")
            if any(words in reason for words in NO_CHANGES):
                return ()
            raise ServiceError("CloudFormation cannot plan the stack", reason)
        return tuple(_line(change["ResourceChange"]) for change in found["Changes"])

    def _finished_change_set(self, name: str) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = self.client.describe_change_set(StackName=self.name, ChangeSetName=name)
            if found["Status"] not in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}:
                return found
            time.sleep(POLL_SECONDS)
        raise ServiceError("CloudFormation does not finish its plan", None, "try again")

    def _execute(self, name: str, tell: Tell) -> None:
        self.client.execute_change_set(StackName=self.name, ChangeSetName=name)
        self._wait(tell, {"CREATE_COMPLETE", "UPDATE_COMPLETE"})

    def _wait(self, tell: Tell, good: set[str]) -> None:
        deadline, last = time.monotonic() + PATIENCE_SECONDS, ""
        while time.monotonic() < deadline:
            found = self._describe()
            state = found["StackStatus"] if found else "DELETE_COMPLETE"
            if state != last:
                tell(state)
            if state in good:
                return
            if not state.endswith(("_IN_PROGRESS", "_PROGRESS")):
                raise ServiceError(f"the stack ended as {state}", self._reason())
            last = state
            time.sleep(POLL_SECONDS)
        raise ServiceError("CloudFormation is still at work", None, "parallelize setup   again")

    def _reason(self) -> str | None:
        events = self.client.describe_stack_events(StackName=self.name)["StackEvents"]
        failed = [one for one in events if one.get("ResourceStatus", "").endswith("_FAILED")]
        # The oldest is the cause; later ones say only that something else had failed.
        if not failed:
            return None
        first = failed[-1]
        return f"{first.get('LogicalResourceId')}: {first.get('ResourceStatusReason')}"

    def _forget(self, name: str) -> None:
        """Take an unused plan away, with the empty stack that planning a new one leaves behind."""
        found = self._describe()
        if found is None:
            return
        if found["StackStatus"] == "REVIEW_IN_PROGRESS":
            self.client.delete_stack(StackName=self.name)
        else:
            self.client.delete_change_set(StackName=self.name, ChangeSetName=name)


def _line(change: Any) -> str:
    verb = {"Add": "would add", "Modify": "would change", "Remove": "would remove"}
    replaced = ", by replacing it" if change.get("Replacement") == "True" else ""
    action = verb.get(change["Action"], change["Action"])
    return f"{action} {change['LogicalResourceId']} ({change['ResourceType']}){replaced}"
