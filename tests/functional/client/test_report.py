"""`report` on a run in S3: the page appears whole or not at all, and says what S3 says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project

from parallelize.fleet.machine_table import TABLE
from parallelize.operations.report import listed_prices
from parallelize.project import PROJECT_FILE
from parallelize_core.heartbeat import Heartbeat

PROGRAM = Path(sys.executable).with_name("parallelize")


def prepared(project: Project, *names: str) -> Project:
    project.add(*names)
    assert project.call("prep") == 0
    return project


def test_the_page_is_written_here_and_its_path_is_the_answer(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(project, "a.tif", "b.tif")
    project.finish("a.tif", "a.csv")
    project.finish("b.tif", failed=True)
    capsys.readouterr()
    assert project.call("report") == 0
    said = capsys.readouterr()
    assert said.out == f"{project.run}-report.html\n"
    page = (project.folder / f"{project.run}-report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert "a.tif" in page
    assert all(len(line) <= 80 for line in said.err.splitlines())


def test_a_page_that_cannot_be_written_is_named_by_its_own_name(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(project, "a.tif")
    (project.folder / "taken").mkdir()
    capsys.readouterr()
    assert project.call("report", "--out", "taken") == 2
    assert capsys.readouterr().err.splitlines()[-3:] == [
        "error: the report cannot be written to taken",
        "  Is a directory",
        "  fix: choose another place: parallelize report --out FILE",
    ]
    assert {path.name for path in project.folder.glob(".parallelize-*")} == {PROJECT_FILE}


def test_the_json_has_what_is_in_the_bucket_and_no_page_is_written(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(project, "a.tif", "b.tif", "c.tif")
    project.finish("a.tif", "a.csv")
    project.finish("b.tif", failed=True)
    capsys.readouterr()
    assert project.call("report", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["run"]) == (1, project.run)
    assert {f["key"]: f["state"] for f in document["files"]} == {
        "a.tif": "done", "b.tif": "failed", "c.tif": "waiting",
    }  # fmt: skip
    assert document["machines_still_there"] == 0
    assert document["emulated"] is True
    assert document["cost_usd"] is None
    sources = {s["key"]: s["source"] for s in document["provenance"]["settings"]}
    assert sources["run.command"] == "parallelize.toml"
    assert not list(project.folder.glob("*.html"))


def test_a_run_that_has_only_just_been_prepared_has_a_page(project: Project) -> None:
    prepared(project, "a.tif")
    assert project.call("report", "--out", "pages/first.html") == 0
    assert "No results yet" in (project.folder / "pages" / "first.html").read_text()


def test_a_run_that_is_not_there_or_not_any_more_leaves_the_older_page_alone(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    page = project.folder / "page.html"
    page.write_text("older")
    assert project.call("report", "--out", "page.html") == 2
    prepared(project, "a.tif")
    assert project.call("clean", "--yes") == 0
    capsys.readouterr()
    assert project.call("report", "--out", "page.html") == 2
    said = capsys.readouterr()
    assert f'there is no run "{project.run}"' in said.err
    assert said.out == ""
    assert page.read_text() == "older"


def test_a_page_that_cannot_take_its_place_leaves_nothing_behind(project: Project) -> None:
    prepared(project, "a.tif")
    (project.folder / "page.html" / "kept").mkdir(parents=True)
    before = sorted(Path(project.folder).iterdir())
    assert project.call("report", "--out", "page.html") == 2
    assert sorted(Path(project.folder).iterdir()) == before


@pytest.mark.parametrize("content", ["<html>my own page</html>", "notes\n" * 10_000])
def test_a_file_that_is_no_report_stays(
    project: Project, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    prepared(project, "a.tif")
    page = project.folder / f"{project.run}-report.html"
    page.write_text(content)
    capsys.readouterr()
    assert project.call("report") == 2
    assert "stays as it is\n  no earlier command wrote it" in capsys.readouterr().err
    assert page.read_text() == content


def test_a_list_of_jobs_takes_the_place_of_no_other_file_and_nothing_is_sent(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.add("a.tif")
    capsys.readouterr()
    assert project.call("run", "--joblog", "inputs/a.tif") == 2
    assert "stays as it is" in " ".join(capsys.readouterr().err.split())
    assert (project.folder / "inputs" / "a.tif").read_text() == "content of a.tif"
    assert list(project.store.list(project.layout.root.prefix)) == []


def test_a_list_of_jobs_that_cannot_be_written_in_the_end_is_told_beside_the_outcome(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(project, "a.tif")
    project.finish("a.tif", "a.csv")
    capsys.readouterr()
    assert project.call("run", "--out", "made", "--joblog", "/dev/full") == 1
    said = capsys.readouterr()
    assert said.out == "made\n"
    assert "no job log: the job log cannot be written to /dev/full" in said.err
    assert "1 done" in said.err


def test_a_table_that_was_edited_stays_and_one_that_was_not_is_replaced(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(project, "a.tif")
    table = project.folder / "files.csv"
    for _ in range(2):
        assert project.call("report", "--table", "files.csv") == 0
    noted = table.read_text().replace("waiting", "waiting for Ann's answer")
    table.write_text(noted)
    assert project.call("report", "--table", "files.csv") == 2
    assert "it was changed after it was written" in capsys.readouterr().err
    assert table.read_text() == noted


def test_a_page_that_was_edited_stays_and_ends_no_run(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(project, "a.tif")
    project.finish("a.tif", "a.csv")
    assert project.call("report") == 0
    page = project.folder / f"{project.run}-report.html"
    noted = page.read_text().replace("</html>", "<p>Reviewed, Ann</p></html>")
    page.write_text(noted)
    capsys.readouterr()
    assert project.call("run", "--out", "made") == 0
    assert "no report: " in capsys.readouterr().err
    assert page.read_text() == noted


def test_an_older_report_is_replaced(project: Project) -> None:
    prepared(project, "a.tif")
    assert project.call("report", "--out", "page.html") == 0
    project.finish("a.tif", "a.csv")
    assert project.call("report", "--out", "page.html") == 0


def test_json_and_a_file_exclude_each_other(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.call("report", "--json", "--out", "x.html") == 2
    assert capsys.readouterr().out == ""


def test_the_browser_gets_the_page_and_stdout_the_path_alone(
    project: Project, tmp_path: Path
) -> None:
    prepared(project, "a.tif")
    browser, asked = tmp_path / "browser", tmp_path / "asked"
    browser.write_text(f'#!/bin/sh\necho "$1" > {asked}\n')
    browser.chmod(0o755)
    done = subprocess.run(
        [PROGRAM, "report", "--open"], check=True, capture_output=True, text=True,
        env={**os.environ, "BROWSER": f"{browser} %s"},
    )  # fmt: skip
    page = project.folder / f"{project.run}-report.html"
    assert asked.read_text() == f"{page.as_uri()}\n"
    assert done.stdout == f"{page.name}\n"


CLOSED = "http://127.0.0.1:9"


def test_an_ec2_that_does_not_answer_costs_the_report_no_more_than_its_facts(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(project, "a.tif")
    capsys.readouterr()
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", CLOSED)
    assert project.call("report", "--json") == 0
    assert json.loads(capsys.readouterr().out)["machines_still_there"] is None


class PriceList(BaseHTTPRequestHandler):
    """Answers GetProducts with one product."""

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        dimension = {"priceDimensions": {"1": {"pricePerUnit": {"USD": "0.25"}}}}
        product = {"product": {"attributes": {"instanceType": "c7i.xlarge"}},
                   "terms": {"OnDemand": {"1": dimension}}}  # fmt: skip
        found = [json.dumps(product)] if "c7i.xlarge" in asked else []
        body = json.dumps({"PriceList": found}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def worker(**changes: object) -> Heartbeat:
    return Heartbeat.model_validate({
        "worker": "i-1", "state": "left", "started": 0, "seen": 3600, "interval_seconds": 30,
        "type": "c7i.xlarge", "hourly_usd": 0.1, **changes,
    })  # fmt: skip


def test_list_prices_are_asked_for_the_types_of_workers_that_knew_their_own(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), PriceList) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", f"http://127.0.0.1:{server.server_port}")
        assert listed_prices(project.context, [worker()]) == {"c7i.xlarge": 0.25}
        assert listed_prices(project.context, [worker(hourly_usd=None)]) == {}
        server.shutdown()


def test_if_the_price_list_does_not_answer_what_is_in_the_shipped_table_is_compared(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", CLOSED)
    workers = [worker(), worker(type="u-12tb1.112xlarge")]
    assert listed_prices(project.context, workers) == {"c7i.xlarge": TABLE["c7i.xlarge"]}
