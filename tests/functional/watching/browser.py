"""A browser without a window: a page, what a script in it finds, and what it looks like."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
_FOUND = "found-by-the-test"


def needs_a_browser() -> pytest.MarkDecorator:
    return pytest.mark.skipif(PROGRAM is None, reason="needs chromium")


def dump(address: str, width: int = 1280, *, dark: bool = False) -> str:
    """Return a page as it is once its scripts have run."""
    assert PROGRAM
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    done = subprocess.run(
        [
            PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000",
            f"--window-size={width},900", scheme, "--dump-dom", address,
        ],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.stdout


def screenshot(address: str, place: Path, width: int, *, dark: bool) -> None:
    """Write a picture of a page, as a PNG, down to where our longest ends."""
    assert PROGRAM
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    subprocess.run(
        [
            PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--virtual-time-budget=5000",
            f"--window-size={width},{4200 if width < 500 else 2600}", scheme,
            f"--screenshot={place}", address,
        ],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip


def evaluate(page: str, script: str, folder: Path, width: int = 1280, *, dark: bool = False) -> Any:
    """Return what the body of an async function returns in a page that may have scripts."""
    put = (
        f"<script>addEventListener('load', async () => {{ const run = async () => {{ {script} }};"
        f"const found = document.createElement('pre'); found.id = '{_FOUND}';"
        "found.textContent = JSON.stringify(await run()); document.body.append(found); })"
        "</script></body>"
    )
    path = folder / "page.html"
    path.write_text(page.replace("</body>", put), encoding="utf-8", errors="replace")
    dumped = dump(path.as_uri(), width, dark=dark)
    found = re.search(f'<pre id="{_FOUND}">(.*?)</pre>', dumped, re.DOTALL)
    assert found, dumped[-2000:]
    return json.loads(html.unescape(found[1]))
