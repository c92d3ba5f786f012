"""What the job of `doctor --live --machine` tells of the metadata service, and what that means."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import socket
from threading import Thread

import pytest

from parallelize.live import job
from parallelize.live.machine import judge_answers


class Refusing(BaseHTTPRequestHandler):
    """A service that is reached, and gives no token."""

    def do_PUT(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Giving(Refusing):
    """A service that gives a token."""

    def do_PUT(self) -> None:
        self.send_response(200)
        self.end_headers()


@pytest.fixture(params=[Refusing, Giving])
def service(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a metadata service that jobs reach."""
    with HTTPServer(("127.0.0.1", 0), request.param) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def says(address: str, folder: Path) -> str:
    """Run the job as a worker does; return what is in the file that it prints."""
    command = [sys.executable, job.__file__, address, "in/1.txt"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "1.imds.txt"
    return Path(folder, "1.imds.txt").read_text()


def test_a_service_that_answers_a_job_is_open_whatever_it_answers(
    service: str, tmp_path: Path
) -> None:
    assert says(service, tmp_path) == "open\n"


def test_a_service_that_a_job_does_not_reach_is_closed(tmp_path: Path) -> None:
    with socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert says(f"127.0.0.1:{nobody.getsockname()[1]}", tmp_path) == "closed\n"


@pytest.mark.parametrize(
    ("told", "good", "text"),
    [
        ({b"closed\n"}, True, "closed"),
        ({b"closed\n", b"open\n"}, False, "closed and open"),
        ({b"open\n"}, False, "open"),
        (set(), False, "not asked"),
    ],
)
def test_only_jobs_that_all_found_it_closed_are_good(
    told: set[bytes], good: bool, text: str
) -> None:
    seen = judge_answers(told)
    assert (seen.good, seen.text) == (good, f"the metadata service, from a job: {text}")
