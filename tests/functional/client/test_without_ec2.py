"""A store with S3 and SQS only: what answers the calls of EC2 is not EC2."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.functional.client.conftest import Project

ANSWERS = [b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>", b"", b"{}", b"<html>"]


class Handler(BaseHTTPRequestHandler):
    """Answers whatever it is asked with the server's text."""

    def do_POST(self) -> None:
        body: bytes = self.server.text  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=ANSWERS, ids=["S3's", "none", "JSON", "HTML"])
def run(
    request: pytest.FixtureRequest, project: Project, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A run that stands still, and an endpoint that is not EC2's."""
    project.add("a.tif")
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.text = request.param  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for service in ("EC2", "AUTO_SCALING"):
            url = f"http://127.0.0.1:{server.server_port}"
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", url)
        yield project
        server.shutdown()


def test_status_tells_what_it_knows_and_that_ec2_tells_no_more(
    run: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run.call("status") == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "1 waiting" in page
    assert "no worker has reported yet" in page
    assert "EC2 cannot tell more" in page


def test_the_report_says_that_ec2_gave_no_answer(
    run: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.call("report") == 0
    page = (run.folder / f"{run.run}-report.html").read_text()
    assert "EC2 gave no answer" in page
    assert "all terminated" not in page


@pytest.mark.parametrize(
    "command", [["kill"], ["scale", "1"], ["stop"], ["image", "list"]], ids=str
)
def test_a_command_about_machines_ends_in_words(
    run: Project, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.call(*command) == 6
    assert "\nerror: " in capsys.readouterr().err
