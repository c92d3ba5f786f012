"""The local cloud as a process: started once, found again, and gone without a trace."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError
from tests.functional.local.helpers import AGENT_OPTIONS, client_arguments, report, runs, until

from parallelize.cli import run as run_cli
from parallelize.local import cloud as local
from parallelize.local.cloud import LocalCloud, attach, local_cloud, start, starting, stop
from parallelize.local.daemon import NoLayer
from parallelize.local.records import LOG_FILE, REGION, STATE_FILE, CloudState
from parallelize.local.sqs.queues import ACCOUNT
from parallelize_core.errors import ServiceError, UsageError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

ROOT = Path(__file__).parents[3]


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    """A local cloud of the test's own, which it may break."""
    cloud = start(tmp_path, daemon_options=AGENT_OPTIONS)
    yield cloud
    stop(cloud)


def launch_agent(cloud: LocalCloud) -> dict[str, Any]:
    ec2 = boto3.client("ec2", **client_arguments(cloud))
    launched = ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, UserData="{}")
    return report(cloud, launched["Instances"][0]["InstanceId"])


def daemons(folder: Path) -> list[psutil.Process]:
    """Return this process's local clouds that keep their state below a folder."""
    return [one for one in psutil.Process().children() if str(folder) in command_line(one)]


def command_line(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):  # another test's, which has ended
        return " ".join(process.cmdline())
    return ""


def processes(found: dict[str, Any]) -> list[int]:
    return [found["pid"], found["job"], found["orphan"]]


def test_another_process_than_the_one_that_started_it_can_stop_it(own_cloud: LocalCloud) -> None:
    """Of which its parent, this process, takes no notice."""
    lines = (
        "import sys; from pathlib import Path; from parallelize.local import cloud",
        "cloud.STOP_TIMEOUT_SECONDS = 600",
        "cloud.stop(cloud.attach(Path(sys.argv[1])))",
    )
    words = [sys.executable, "-c", "\n".join(lines), str(own_cloud.state_dir)]
    subprocess.run(words, check=True)
    assert psutil.Process(own_cloud.state.pid).status() == psutil.STATUS_ZOMBIE


def test_it_is_started_once_found_again_and_stopped_for_good(own_cloud: LocalCloud) -> None:
    again = start(own_cloud.state_dir)
    found = attach(own_cloud.state_dir)
    assert found is not None
    assert own_cloud.endpoint == again.endpoint == found.endpoint
    agent = launch_agent(own_cloud)
    stop(found)
    assert not any(map(runs, [own_cloud.state.pid, *processes(agent)]))
    assert attach(own_cloud.state_dir) is None
    stop(found)


def test_a_start_that_nobody_waits_for_leaves_nothing_running(tmp_path: Path) -> None:
    with suppress(UsageError), starting(tmp_path, daemon_options=AGENT_OPTIONS):
        assert len(daemons(tmp_path)) == 1
        raise UsageError("something else is wrong")
    assert daemons(tmp_path) == []


def test_nobody_else_starts_one_until_the_start_has_been_waited_for(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        with starting(tmp_path, daemon_options=AGENT_OPTIONS) as started:
            other = threads.submit(start, tmp_path)
            cloud = started()
            assert other.result().state == cloud.state
            with starting(tmp_path) as again:
                assert start(tmp_path).state == again().state == cloud.state
        stop(cloud)


def test_a_command_line_that_makes_no_sense_leaves_no_local_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run_cli(["run", "--local", "--", "true", "{}"]) == UsageError.exit_code
    assert daemons(tmp_path) == []


def test_killing_the_daemon_takes_the_agents_down_too(own_cloud: LocalCloud) -> None:
    agent = launch_agent(own_cloud)
    os.kill(own_cloud.state.pid, signal.SIGKILL)
    until(lambda: not any(map(runs, processes(agent))))
    assert attach(own_cloud.state_dir) is None
    with pytest.raises(ServiceError, match="does not answer"):
        own_cloud.instances()


def test_only_its_owner_may_read_the_state_and_only_the_token_steers(cloud: LocalCloud) -> None:
    mode = (cloud.state_dir / STATE_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    connection = http.client.HTTPConnection("127.0.0.1", cloud.state.port)
    connection.request("GET", "/_parallelize/instances", headers={"Authorization": "Bearer x"})
    assert connection.getresponse().status == 401


def test_it_ends_with_its_owner_however_that_ends(tmp_path: Path) -> None:
    script = f"""
        import time
        from parallelize.local.cloud import local_cloud
        from pathlib import Path
        with local_cloud(Path({str(tmp_path)!r}), daemon_options={AGENT_OPTIONS!r}):
            time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)]) as owner:
        cloud = until(lambda: attach(tmp_path))
        agent = launch_agent(cloud)
        owner.kill()
    until(lambda: not any(map(runs, [cloud.state.pid, *processes(agent)])))


def test_one_that_runs_already_cannot_become_owned(cloud: LocalCloud) -> None:
    with pytest.raises(UsageError, match="running already"):
        start(cloud.state_dir, owned=True)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"(?s)did not start.*Port {port} is in use"):
            start(tmp_path, port)


def test_without_moto_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs moto\n.*pip install 'parallelize\[local\]'"):
        start(tmp_path)


@pytest.mark.parametrize("change", [{"pid": 2**22 + 1}, {"started": 0.0}])
def test_a_state_file_that_nobody_removed_is_recognised(
    cloud: LocalCloud, tmp_path: Path, change: dict[str, Any]
) -> None:
    """Its process is gone, or its process id belongs to another process by now."""
    cloud.state.model_copy(update=change).write(tmp_path)
    assert attach(tmp_path) is None


def test_a_state_file_that_cannot_be_read_is_ignored(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text('{"schema": 2}')
    assert attach(tmp_path) is None


def test_the_state_file_says_which_schema_it_has(cloud: LocalCloud) -> None:
    written = json.loads((cloud.state_dir / STATE_FILE).read_text())
    assert written["schema"] == 1
    assert CloudState.read(cloud.state_dir) == cloud.state


def test_no_variable_of_the_user_leads_a_child_away_from_it(cloud: LocalCloud) -> None:
    theirs = {"HOME": "/home/ana", "AWS_PROFILE": "lab", "AWS_ENDPOINT_URL_S3": "http://far"}
    theirs |= {"PARALLELIZE_REGION": "eu-west-1", "AWS_REGION": "eu-west-1"}
    environ = cloud.child_environ(theirs)
    assert environ == {"HOME": "/home/ana"} | cloud.environ
    assert environ["AWS_REGION"] == "us-east-1"


class Held(NoLayer):
    """A local cloud whose other services are loaded once its state folder has a file `open`."""

    def services(self, services: WSGIApplication) -> WSGIApplication:
        until((Path(sys.argv[sys.argv.index("--state") + 1]) / "open").exists, 60)
        return services


def test_it_stores_files_before_the_other_services_are_loaded(tmp_path: Path) -> None:
    layer = ("--layer", f"{__name__}:{Held.__name__}")
    with local_cloud(tmp_path, (*AGENT_OPTIONS, *layer)) as cloud, ThreadPoolExecutor() as threads:
        arguments = client_arguments(cloud)
        launching = threads.submit(launch_agent, cloud)
        boto3.client("s3", **arguments).create_bucket(Bucket="early")
        boto3.client("sqs", **arguments).create_queue(QueueName="early")
        told = boto3.client("sts", **arguments).get_caller_identity()
        assert told["Account"] == ACCOUNT
        assert not launching.done()
        (tmp_path / "open").touch()
        assert launching.result()


class Broken(NoLayer):
    """Cannot be put in front of moto."""

    def services(self, services: WSGIApplication) -> WSGIApplication:
        raise LookupError("nothing to emulate with")


def test_it_ends_and_says_why_if_the_other_services_cannot_be_loaded(tmp_path: Path) -> None:
    options = (*AGENT_OPTIONS, "--layer", f"{__name__}:{Broken.__name__}")
    with suppress(ServiceError):  # it may end before anybody sees that it has started
        start(tmp_path, owned=True, daemon_options=options)
    until(lambda: "nothing to emulate with" in (tmp_path / LOG_FILE).read_text())
    assert attach(tmp_path) is None


def test_moto_says_who_other_users_are(cloud: LocalCloud) -> None:
    arguments = {**client_arguments(cloud), "aws_access_key_id": "AKIAOTHER"}
    assert boto3.client("sts", **arguments).get_caller_identity()["Account"] == ACCOUNT


def test_the_client_does_not_load_the_emulator() -> None:
    check = "import sys, parallelize.local.cloud; assert not {'moto', 'boto3'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_a_hundred_megabytes_go_through_its_s3(cloud: LocalCloud) -> None:
    s3 = boto3.client("s3", **client_arguments(cloud))
    s3.create_bucket(Bucket="large")
    body = os.urandom(1024) * 100 * 1024
    s3.put_object(Bucket="large", Key="k", Body=body)
    assert s3.get_object(Bucket="large", Key="k")["Body"].read() == body


def test_a_service_that_is_not_emulated_is_refused_at_the_first_try(cloud: LocalCloud) -> None:
    pricing = boto3.client(
        "pricing",
        region_name=REGION,
        endpoint_url=cloud.endpoint,
        aws_access_key_id="local",
        aws_secret_access_key=cloud.state.secret,
    )
    with pytest.raises(ClientError) as refused:
        pricing.describe_services()
    answer = refused.value.response["ResponseMetadata"]
    assert (answer["HTTPStatusCode"], answer["RetryAttempts"]) == (404, 0)
