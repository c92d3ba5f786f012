"""The report and the dashboard as people see them: `python -m tests.bench.screenshots FOLDER`.

Writes a PNG for each page, at the widths of a phone, a tablet and a desk, light and dark. They are
to be looked at; that nothing has to be scrolled sideways is checked by
tests/functional/watching/test_in_a_browser.py. Needs chromium.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from tests.functional.watching.browser import screenshot
from tests.functional.watching.test_dashboard import serve, site_over
from tests.functional.watching.test_in_a_browser import WIDTHS, going_on
from tests.unit.watching.test_report_page import busy_report

from parallelize.report.page import render

PAGES = {"runs": "", "run": "scans/", "files": "scans/files"}


def addresses(scratch: Path) -> Iterator[tuple[str, str]]:
    """Yield each page's name and address; the dashboard answers until the next one is asked for."""
    report = scratch / "report.html"
    report.write_text(render(busy_report(*(f"folder/file-{n:03}.tif" for n in range(40)))))
    yield "report", report.as_uri()
    for browser in serve(site_over(going_on().store)):
        for name, path in PAGES.items():
            yield f"dashboard-{name}", f"{browser.server.url}{path}"


def main() -> None:
    """Write all of them into a folder."""
    folder = make_parser().parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, address in addresses(Path(scratch)):
            for width, dark in product(WIDTHS, (False, True)):
                made = folder / f"{name}-{width}-{'dark' if dark else 'light'}.png"
                screenshot(address, made, width, dark=dark)
                print(made)  # noqa: T201


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    return parser


if __name__ == "__main__":
    main()
