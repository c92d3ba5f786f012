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


def pages() -> Iterator[tuple[str, str]]:
    """Yield each page by its name."""
    yield "report", render(busy_report(*(f"folder/file-{n:03}.tif" for n in range(40))))
    for browser in serve(site_over(going_on().store)):
        style = f"<style>{browser.get('style.css').body}</style></head>"
        for name, path in PAGES.items():
            yield f"dashboard-{name}", browser.get(path).body.replace("</head>", style)


def main() -> None:
    """Write all of them into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for (name, page), width, dark in product(pages(), WIDTHS, (False, True)):
            place = Path(scratch) / "page.html"
            place.write_text(page, encoding="utf-8", errors="replace")
            made = folder / f"{name}-{width}-{'dark' if dark else 'light'}.png"
            screenshot(place.as_uri(), made, width, dark=dark)
            print(made)  # noqa: T201


if __name__ == "__main__":
    main()
