"""The layer: each request passes the rules on its way to moto, each answer on its way back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.strict_aws.call import Call, Refusal, Reply, answered, parsed, refused
from tests.strict_aws.clock import Clock, Windows


@dataclass
class World:
    """What the rules share: the time, and how long things take on this AWS, in seconds."""

    clock: Clock = field(default_factory=Clock)
    policies: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """The identity policies of who calls with an access key; a key without may do everything."""
    account: str = "123456789012"
    demanded_tags: frozenset[str] = frozenset()
    """The tags without which the organization lets nobody make anything."""
    boundary: str = ""
    """The policy that has to bound every role that is made; empty for none."""
    role_path: str = "/"
    """The path that roles, profiles and policies must have."""
    shared_subnets: dict[str, str] = field(default_factory=dict)
    """Which subnets are shared by other accounts, and whose they are."""
    sms_sandbox: bool = True
    """Whether SMS reaches verified numbers only, as in new accounts."""
    requester_pays: frozenset[str] = frozenset()
    """The buckets whose readers pay."""
    demanded_keys: dict[str, str] = field(default_factory=dict)
    """The keys that writers to a bucket must name."""
    volume_key: str = ""
    """The ARN of the account's own key that encrypts volumes by default; empty for AWS's."""
    scale: float = 1.0
    """How fast things happen: a process that really waits uses less than 1."""

    def rights(self, call: Call) -> list[Mapping[str, Any]] | None:
        """Return the identity policies of who makes a call; None if they may do everything."""
        return self.policies.get(call.access_key)

    def seconds(self, real: float) -> float:
        """Return how long it takes here, what takes `real` seconds on AWS."""
        return real * self.scale


class Rule:
    """One thing that AWS does and moto does not."""

    source: ClassVar[str]
    """The address of the document that says so."""
    found: ClassVar[str] = ""
    """What it has found in this project; empty for nothing."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.acted = False
        """Whether it has given another answer than the emulator, or changed what that has."""
        self.windows = Windows(world.clock)

    def before(self, call: Call) -> dict[str, Any] | None:
        """Raise Refusal for what AWS does not take; or return AWS's answer instead of moto's."""

    def watches(self, call: Call) -> bool:
        """Whether the answer is of interest."""
        return False

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        """Look at an answer; return AWS's, if it is another one, or raise Refusal."""

    def failed(self, call: Call, status: int) -> None:
        """Look at a refusal of moto's; raise Refusal if AWS's is another one."""


class Layer:
    """The rules in order. `refusals` counts what each has refused."""

    def __init__(self, rules: Iterable[Rule], world: World) -> None:
        self.rules = tuple(rules)
        self.world = world
        self.refusals: Counter[str] = Counter()

    def rule(self, kind: type[Rule]) -> Any:
        """Return the rule of a kind."""
        return next(rule for rule in self.rules if isinstance(rule, kind))

    def answer(self, call: Call, forward: Callable[[], Reply]) -> Reply:
        """Return AWS's answer to a call; `forward` is moto's."""
        return self.before(call) or self.after(call, forward())

    def before(self, call: Call) -> Reply | None:
        """Return AWS's answer to a call that the emulator must not see; None if it may."""
        for rule in self.rules:
            try:
                instead = rule.before(call)
            except Refusal as refusal:
                return self._refused(rule, call, refusal)
            if instead is not None:
                rule.acted = True
                return answered(call, instead)
        return None

    def after(self, call: Call, reply: Reply) -> Reply:
        """Return AWS's answer in the place of the emulator's; exactly the same if it is."""
        for rule in self.rules:
            try:
                reply = self._look(rule, call, reply)
            except Refusal as refusal:
                return self._refused(rule, call, refusal)
        return reply

    def _look(self, rule: Rule, call: Call, reply: Reply) -> Reply:
        if reply.status >= 400:
            rule.failed(call, reply.status)
            return reply
        if not rule.watches(call):
            return reply
        told = parsed(call, reply)
        changed = rule.after(call, told)
        if changed is None:
            return reply
        if changed != told:
            rule.acted = True
        return answered(call, changed)

    def _refused(self, rule: Rule, call: Call, refusal: Refusal) -> Reply:
        self.refusals[type(rule).__name__] += 1
        rule.acted = True
        return refused(call, refusal)
