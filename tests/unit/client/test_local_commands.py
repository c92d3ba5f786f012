from pathlib import Path

import pytest

from parallelize.local.enter import local_defaults
from parallelize.local.records import InstanceState, InstanceView
from parallelize.operations.local import machine_lines
from parallelize.settings import resolve


@pytest.mark.parametrize(
    ("state", "pid", "end"),
    [(InstanceState.RUNNING, 4493, "  agent 4493"), (InstanceState.TERMINATED, None, "c7i.large")],
)
def test_a_machine_is_shown_with_the_process_of_its_agent_while_it_has_one(
    state: InstanceState, pid: int | None, end: str
) -> None:
    console = Path("/state/console.log")
    view = InstanceView(id="i-0a1b", state=state, type="c7i.large", pid=pid, console=console)
    first, second = machine_lines(view)
    assert first.endswith(end)
    assert str(console) in second


@pytest.mark.parametrize(("flags", "sent"), [({}, False), ({"workers.metrics": True}, True)])
def test_agents_send_metrics_only_if_that_is_asked_for(
    flags: dict[str, object], sent: bool, tmp_path: Path
) -> None:
    resolved = resolve(flags, {}, tmp_path)
    assert resolved.settings.workers.metrics
    local = resolved.with_defaults(local_defaults(2), "the local cloud")
    assert local.settings.workers.metrics is sent
