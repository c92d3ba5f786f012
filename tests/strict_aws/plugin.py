"""The layer in the process of a test: pytest's fixture `strict`, for what runs in `mock_aws`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from moto.cloudformation import parsing
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.request import normalize_request
from moto.sqs import models as sqs_models
from tests.strict_aws import summary
from tests.strict_aws.call import Reply, decode
from tests.strict_aws.clock import Clock
from tests.strict_aws.layer import Layer, World
from tests.strict_aws.rules import RULES, groups


def make_layer(world: World | None = None) -> Layer:
    """Return a layer with all rules."""
    world = world or World()
    return Layer([rule(world) for rule in RULES], world)


@contextmanager
def in_front_of_moto(layer: Layer, patch: pytest.MonkeyPatch) -> Iterator[Layer]:
    """Put a layer in front of `mock_aws`."""
    inner = BotocoreStubber.process_request

    def process(stubber: BotocoreStubber, request: AWSPreparedRequest) -> Any:
        call = decode(normalize_request(_without_stream(request)))
        if call is None:
            return inner(stubber, request)
        made = layer.answer(call, lambda: _reply(inner(stubber, request)))
        return made.status, made.headers, made.body

    patch.setattr(BotocoreStubber, "process_request", process)
    groups.install(layer, patch.setattr)
    yield layer


def _without_stream(request: AWSPreparedRequest) -> AWSPreparedRequest:
    """Return a copy to look into: a body that can be read once is left to moto."""
    body = request.body if isinstance(request.body, (bytes, str)) else b""
    return AWSPreparedRequest(
        request.method, request.url, request.headers, body, stream_output=False
    )


def _reply(answer: Any) -> Reply:
    status, headers, body = answer
    text = body.encode() if isinstance(body, str) else bytes(body)
    return Reply(int(status), {name: str(value) for name, value in dict(headers).items()}, text)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that asks for the table of rules."""
    words = "say in how many tests each of AWS's refusals acted, and what it found"
    parser.addoption("--aws-rules", action="store_true", help=words)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print that table."""
    if not terminalreporter.config.getoption("--aws-rules"):
        return
    terminalreporter.write_sep("=", "AWS's refusals (tests/strict_aws)")
    # What passed, by pytest's own names; a test's own report comes before its fixtures' ends.
    ended = [one for kind in ("", "failed", "error") for one in terminalreporter.getreports(kind)]
    for line in summary.lines(*summary.acted(one for one in ended if one.when == "teardown")):
        terminalreporter.write_line(line)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Layer]:
    """AWS's refusals, by a clock that sleeping moves: a wait of a minute takes no time."""
    clock = Clock(time.monotonic)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(time, "monotonic", clock.now)
    with in_front_of_moto(make_layer(World(clock)), monkeypatch) as layer:
        yield layer
    told = " ".join(type(rule).__name__ for rule in layer.rules if rule.acted)
    request.node.user_properties.append((summary.PROPERTY, told))


_clean_json = parsing.clean_json


def leave_out_no_values() -> None:
    """Let moto leave AWS::NoValue out of lists, as CloudFormation does; it puts a null there."""

    def clean_lists_too(template: Any, resources: Any) -> Any:
        found = _clean_json(template, resources)
        if isinstance(template, list):
            return [one for one in found if one is not None]
        return found

    parsing.clean_json = clean_lists_too


@pytest.fixture
def queues_by_the_clock(strict: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases run out in moto by the clock that sleeping moves, too."""
    clock = strict.world.clock
    began = time.time() - clock.now()
    monkeypatch.setattr(sqs_models, "unix_time", lambda *_: began + clock.now())
    monkeypatch.setattr(sqs_models, "unix_time_millis", lambda *_: (began + clock.now()) * 1000)
