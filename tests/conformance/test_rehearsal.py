"""The probes of `doctor --live` for S3 and SQS, on any server that speaks both.

What a server is known to do otherwise is listed; the list has to be whole, and nothing more.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.other_server import other_server

from parallelize.context import open_context
from parallelize.live import objects, queues
from parallelize.operations.doctor_live import Rehearsal, free_of_machines, rehearse
from parallelize.options import NOTHING

OTHERWISE = {
    "LocalStack": {
        "purged a second time: accepted",
        "made again after deletion: at once",
        "a bucket with an unexpected owner: not refused",
    },
    "local cloud": {
        "made again after deletion: at once",
        "a bucket with an unexpected owner: not refused",
    },
}


def test_a_server_does_what_the_project_counts_on_but_for_what_is_known(
    endpoint: str, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test",
             "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    probes = {queues.CHECK: queues.probe, objects.CHECK: objects.probe}
    context = free_of_machines(open_context(NOTHING)).context
    findings = rehearse(Rehearsal(context, probes, (queues.KIND, objects.KIND), ()), None)
    server = "LocalStack" if other_server() else "local cloud"
    assert {one.text for one in findings if one.verdict != "good"} == OTHERWISE[server]
    assert findings[-1].text == "nothing (looked for: queue, bucket)"
