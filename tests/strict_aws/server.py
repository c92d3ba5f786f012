"""The layer in the local cloud: `--layer tests.strict_aws.server:Strict` of its daemon.

It stands in front of moto, and of the local cloud's own S3 and SQS.
Things take a fraction of their time here, because a client really waits for them.

With `...:Judged` each request is judged by the policies of who has signed it, too (`Account`).
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from moto.cloudformation.models import cloudformation_backends
from moto.core.request import Request
from moto.ec2.models import ec2_backends
from moto.iam.models import IAMBackend, ManagedPolicy, Role, User, iam_backends
from moto.ssm.models import Parameter, ssm_backends
from tests.strict_aws.call import Call, Reply, decode
from tests.strict_aws.layer import Layer, World
from tests.strict_aws.plugin import leave_out_no_values, make_layer
from tests.strict_aws.rules import groups
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

from parallelize.bucket import auto_name
from parallelize.fleet.distributions import AMAZON, DEBIAN, UBUNTU
from parallelize.fleet.tags import MANAGED
from parallelize.local import http
from parallelize.local.facts import ROLE_KEY
from parallelize.local.records import REGION
from parallelize.local.server import environ_of
from parallelize.stack import template
from parallelize_core.names import FIRST, Names

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SCALE = "STRICT_AWS_SCALE"

PLAIN = (None, None, None, datetime(2026, 11, 1, tzinfo=UTC), 1, "text")
"""The other arguments of moto's Parameter."""

USER = "local"
"""The user of IAM's whose key commands have in the local cloud: its id is called as the user."""


def behind(layer: Layer, services: WSGIApplication) -> WSGIApplication:
    """Return what answers requests, behind the rules of a layer."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        call = decode(Request(environ))
        if call is None:
            return services(environ, start_response)
        made = layer.answer(call, lambda: _reply(services, environ))
        return Response(made.body, made.status, made.headers)(environ, start_response)

    return answer


class Strict:
    """The rules, in front of all services of a local cloud."""

    def __init__(self) -> None:
        leave_out_no_values()
        self._layer = make_layer(self.world())
        groups.install(self._layer, setattr)

    def world(self) -> World:
        """Return what the rules share."""
        return World(scale=scale())

    def services(self, services: WSGIApplication) -> WSGIApplication:
        """Return moto behind the rules."""
        return behind(self._layer, services)

    def handler(self, handle: http.Handler) -> http.Handler:
        """Return the local cloud's own S3 or SQS behind the rules."""

        def answer(request: http.Request) -> http.Answer:
            call = decode(Request(environ_of(request, 0)))
            if call is None:
                return handle(request)
            if refused := self._layer.before(call):
                return _response(refused)
            answered = handle(request)
            if isinstance(answered, http.Response):
                return self._looked_at(call, answered)
            return self._later(call, answered)

        return answer

    async def _later(self, call: Call, coming: Coroutine[Any, Any, http.Response]) -> http.Response:
        return self._looked_at(call, await coming)

    def _looked_at(self, call: Call, response: http.Response) -> http.Response:
        body = response.body if isinstance(response.body, bytes) else b""
        reply = Reply(response.status, dict(response.headers), body)
        made = self._layer.after(call, reply)
        return response if made is reply else _response(made)


class WithVendors(Strict):
    """The rules, in a region that has the vendors' plain images, and their parameters."""

    def services(self, services: WSGIApplication) -> WSGIApplication:
        """Return moto behind the rules, with images that no request can create there."""
        account = self.world().account
        images, names = ec2_backends[account][REGION], ssm_backends[account][REGION]._parameters
        for system in (DEBIAN, UBUNTU, AMAZON):
            for architecture, name in system.parameters.items():
                image = images.register_image(f"{system.title} {architecture}")
                image.architecture = architecture
                # Replaces moto's own values for Amazon's parameters, which this lookup loads.
                names[name][:] = [Parameter(account, name, image.id, "String", *PLAIN)]  # type: ignore[abstract]  # moto makes them, too
        return super().services(services)


class Judged(Strict):
    """The rules, in an account that has its stack: who calls has the rights that it gives."""

    def world(self) -> World:
        """Return what the rules share, with the account's policies."""
        account = Account(scale=scale())
        account.set_up(FIRST)
        return account


class Account(World):
    """An account with IAM's users and roles: whose key it is says what a call may do.

    A worker's session has the rights of the stack's role, and the user of a key those of the
    policies that are attached to it. A key without a user is an administrator's.
    """

    def rights(self, call: Call) -> list[Mapping[str, Any]] | None:
        """Return the identity policies of who makes a call; None if they may do everything."""
        if call.access_key == ROLE_KEY:
            return self._of_machine(call.headers.get("x-amz-security-token", ""))
        user = self._iam.users.get(call.access_key)
        return documents_of(user) if user else None

    def set_up(self, stack: str) -> None:
        """Make a stack as `setup` does, and a user with its policies: who uses the local cloud."""
        leave_out_no_values()
        bucket = auto_name(Names(stack=stack), self.account, REGION)
        vpc = ec2_backends[self.account][REGION].get_default_vpc()
        given = {"VpcId": vpc.id, "BucketName": bucket, "CreateBucket": "false"}
        with warnings.catch_warnings(action="ignore"):
            cloudformation_backends[self.account][REGION].create_stack(
                stack, template(), given, tags={}
            )
        self._iam.create_user(REGION, USER)
        for role in ("submitter", "launcher"):
            self._iam.attach_user_policy(self._arn(f"{stack}-{role}-{REGION}"), USER)

    @property
    def _iam(self) -> IAMBackend:
        return iam_backends[self.account]["aws"]

    def _of_machine(self, instance: str) -> list[Mapping[str, Any]]:
        """Return the rights of a machine: of the role in its stack's profile.

        moto attaches none of the policies that a template names to a role: the stack's own for
        workers is found by its name, which is the profile's.
        """
        told = ec2_backends[self.account][REGION].tags.get(instance, {}).get(MANAGED, "")
        name = f"{FIRST if told == 'true' else told}-agent-{REGION}"
        roles = [one.roles[0] for one in self._iam.get_instance_profiles() if one.name == name]
        own = self._iam.managed_policies.get(self._arn(name))
        return [
            *([document(text_of(own))] if own else []),
            *(found for role in roles for found in documents_of(role)),
        ]

    def _arn(self, policy: str) -> str:
        return f"arn:aws:iam::{self.account}:policy/{policy}"


def documents_of(identity: User | Role) -> list[Mapping[str, Any]]:
    """Return the policies of a user or a role, attached and its own."""
    attached = [text_of(policy) for policy in identity.managed_policies.values()]
    return [document(text) for text in (*attached, *identity.policies.values())]


def text_of(policy: ManagedPolicy) -> str:
    """Return a policy as its default version has it."""
    versions = {version.version_id: version for version in policy.versions}
    return str(versions[policy.default_version_id].document)


@lru_cache(maxsize=256)
def document(text: str) -> Mapping[str, Any]:
    """Return a policy by its text."""
    found: Mapping[str, Any] = json.loads(text)
    return found


def scale() -> float:
    """Return how fast things happen."""
    return float(os.environ.get(SCALE, "0.1"))


def _response(reply: Reply) -> http.Response:
    kind = reply.headers.get("Content-Type", "text/xml")
    rest = tuple(one for one in reply.headers.items() if one[0] != "Content-Type")
    return http.Response(reply.status, reply.body, rest, kind)


def _reply(services: Any, environ: WSGIEnvironment) -> Reply:
    body, status, headers = run_wsgi_app(services, environ, buffered=True)
    return Reply(int(status.split()[0]), dict(headers), b"".join(body))
