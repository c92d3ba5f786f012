"""`parallelize dashboard` as a person starts it, beside a real run, until ctrl-C."""

from __future__ import annotations

import json
import signal
import stat
from typing import Any
from urllib.request import urlopen

from tests.e2e.conftest import Shell, wait_until
from tests.unit.watching.report_scene import Page

JOB = """#!/bin/sh
[ "${1##*/}" != bad.txt ] || { echo "this one is bad" >&2; exit 65; }
cp "$1" copy.txt && echo copy.txt
"""

BROWSER = """#!/bin/sh
# Keep what a browser would be given: its argument, and the file that this names.
file=${1#file://}
echo "$1" >"$KEPT/argument" && stat -c %a "$file" >"$KEPT/mode" && cp "$file" "$KEPT/page"
# Stay, as one that runs in the terminal.
until [ -e "$KEPT/left" ]; do sleep 0.1; done
"""


def fetch(url: str) -> str:
    with urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def picture(url: str) -> Any:
    return json.loads(fetch(f"{url}live.json"))


def project(shell: Shell) -> None:
    for name, text in {"env/job.sh": JOB, "inputs/good.txt": "1", "inputs/bad.txt": "2",
                       "parallelize.toml": '[run]\nname = "board"\ncommand = "./job.sh"\n'
                                           'env = "env/"\n'}.items():  # fmt: skip
        path = shell.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (shell.folder / "env/job.sh").chmod(0o755)


def test_a_run_is_shown_from_its_first_file_to_its_last_and_ctrl_c_ends_it(shell: Shell) -> None:
    project(shell)
    shell.run("local", "start")
    shell.run("prep", "--local")
    dashboard = shell.start("dashboard", "--local")
    assert dashboard.stdout is not None
    url = dashboard.stdout.readline().strip()
    assert url.endswith("/board/")
    assert picture(url)["status"]["waiting"] == 2

    shell.run("run", "--local", code=1)
    shown = wait_until(lambda: (now := picture(url))["status"]["state"] == "failed" and now)
    assert (shown["status"]["done"], shown["status"]["failed"]) == (1, 1)
    assert shown["failures"][0]["first"] == "bad.txt"
    page = Page(fetch(url))
    assert {a.get("id") for _, a in page.tags} >= {"live", "workers", "failures", "time", "lanes"}
    [link] = [a["href"] for tag, a in page.tags if (a.get("href") or "").startswith("log?")]
    assert "this one is bad" in fetch(f"{url}{link}")
    assert 'href="board/"' in fetch(url.removesuffix("board/"))
    assert "board" in [run["run"] for run in shell.json("runs", "--local")["runs"]]

    dashboard.send_signal(signal.SIGINT)
    stdout, stderr = dashboard.communicate()
    assert (dashboard.returncode, stdout) == (130, "")
    assert all(len(line) <= 80 for line in stderr.splitlines())
    assert "Traceback" not in stderr


def test_the_browser_is_not_told_the_token_where_others_could_read_it(shell: Shell) -> None:
    project(shell)
    shell.run("local", "start")
    shell.run("prep", "--local", "--run", "door")
    kept = shell.folder / "kept"
    kept.mkdir()
    browser = shell.folder / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    own = Shell(shell.folder, {**shell.environ, "BROWSER": f"{browser} %s", "KEPT": str(kept)})
    dashboard = own.start("dashboard", "--local", "--open", "--run", "door")
    try:
        assert dashboard.stdout is not None
        url = dashboard.stdout.readline().strip()
        wait_until(lambda: (kept / "page").exists() and (kept / "page").read_text())
        token = url.split("/")[3]
        assert token not in (kept / "argument").read_text()
        assert int((kept / "mode").read_text(), 8) & (stat.S_IRWXG | stat.S_IRWXO) == 0
        assert f"url={url}" in (kept / "page").read_text()
        assert picture(url)["status"]["total"] == 2
    finally:
        (kept / "left").touch()
        dashboard.send_signal(signal.SIGINT)
        dashboard.communicate()
    left = {path.name for path in shell.folder.glob(".parallelize-*")}
    assert left <= {".parallelize-project.json"}
